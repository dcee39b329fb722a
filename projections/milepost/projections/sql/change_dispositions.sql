-- Exchange what event_log says of records with what generation $1 says of them; what it said is kept
-- under the generation before.
WITH told AS (
    DELETE FROM disposition_changes WHERE generation = $1 RETURNING *
),

changed AS (
    UPDATE event_log AS held
    SET disposition = told.disposition, reason = told.reason
    FROM told
    WHERE
        held.topic = told.topic
        AND held.partition = told.partition
        AND held."offset" = told."offset"
        AND held.recorded_at = told.recorded_at
    RETURNING
        held.topic, held.partition, held."offset", held.recorded_at, old.disposition, old.reason
)

INSERT INTO disposition_changes
SELECT $1 - 1, changed.* FROM changed
