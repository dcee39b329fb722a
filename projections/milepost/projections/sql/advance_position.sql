-- One notification per batch; its payload is 'partition:position'.
WITH advanced AS (
    UPDATE positions
    SET next_offset = $3, recorded_at = greatest(recorded_at, $4), relayed = $5, problem = NULL
    WHERE topic = $1 AND partition = $2
    RETURNING partition, next_offset
)
SELECT pg_notify('milepost_positions', format('%s:%s', partition, next_offset)) FROM advanced
