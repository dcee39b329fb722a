-- A page of a tenant's executions in the order of their first records. queries/listing.py fills the holes
-- from a fixed list: which executions to look at, one of the files beside this one, and the direction.
-- $1 tenant, $2 and $3 key of the last one seen, $4 rows, $5 how many to look at, $6 heartbeats by
-- provider, $7 now, $8 and $9 first recorded from, before; filters or null: $10 state, $11 operation,
-- $12 provider, $13 labels, $14 and $15 ended from, before, $16 and $17 ids from, to, $18 silent,
-- $19 overdue, $20 conflicting
WITH candidates AS (
    {candidates}
),

ahead AS (
    SELECT
        *, row_number() OVER (ORDER BY first_recorded_at {direction}, execution_id {direction}) AS place
    FROM candidates
    WHERE
        (first_recorded_at, execution_id) {beyond} ($2::timestamptz, $3::uuid)
        AND first_recorded_at >= $8::timestamptz
        AND first_recorded_at < $9::timestamptz
    ORDER BY first_recorded_at {direction}, execution_id {direction}
    LIMIT $5
),

judged AS (
    SELECT
        ahead.*, silence.*,
        (
            ($10::text IS NULL OR state = $10)
            AND ($11::text IS NULL OR operation = $11)
            AND ($12::text IS NULL OR provider = $12)
            AND ($13::jsonb IS NULL OR labels::jsonb @> $13)
            AND ($14::timestamptz IS NULL OR ended_at >= $14)
            AND ($15::timestamptz IS NULL OR ended_at < $15)
            AND ($16::uuid IS NULL OR execution_id BETWEEN $16 AND $17::uuid)
            AND ($18::boolean IS NULL OR (silent_since IS NOT NULL) = $18)
            AND ($19::boolean IS NULL OR (overdue_since IS NOT NULL) = $19)
            AND ($20::boolean IS NULL OR (json_array_length(body -> 'conflicts') > 0) = $20)
        ) AS fits
    FROM ahead
    CROSS JOIN LATERAL silence(
        ended_at, first_recorded_at, recorded_at, provider, body, $6::json,
        coalesce($7::timestamptz, now())
    ) AS silence
),

-- The last one looked at comes too: the next page begins there, whether it fits or not.
page AS (
    SELECT execution_id, first_recorded_at, body, silent_since, overdue_since, fits, place
    FROM judged
    WHERE fits OR place = $5
    ORDER BY first_recorded_at {direction}, execution_id {direction}
    LIMIT $4
),

measured AS (
    SELECT *, sum(octet_length(body::text)) OVER (ORDER BY place) AS size FROM page
)

-- Few large ones are a page as well: it ends with the first that makes it 16 MiB.
SELECT execution_id, first_recorded_at, body, silent_since, overdue_since, fits, place, size >= 16777216 AS filled
FROM measured
WHERE size - octet_length(body::text) < 16777216
ORDER BY place
