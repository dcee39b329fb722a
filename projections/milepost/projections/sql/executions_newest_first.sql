-- A tenant's executions in the order of their first records, one page, the newest first.
-- $1 tenant, $2 and $3 key of the last one seen, $4 rows; filters or null: $5 state, $6 operation,
-- $7 provider
SELECT execution_id, first_recorded_at, body
FROM executions
WHERE
    tenant = $1
    AND (first_recorded_at, execution_id) < ($2::timestamptz, $3::uuid)
    AND ($5::text IS NULL OR state = $5)
    AND ($6::text IS NULL OR operation = $6)
    AND ($7::text IS NULL OR provider = $7)
ORDER BY first_recorded_at DESC, execution_id DESC
LIMIT $4
