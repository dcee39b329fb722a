-- As executions_newest_first, of those that are not over.
-- $1 tenant, $2 and $3 key of the last one seen, $4 rows, $5 heartbeats by provider, $6 now; filters
-- or null: $7 state, $8 operation, $9 provider, $10 silent, $11 overdue
SELECT
    held.execution_id, held.first_recorded_at, held.body, silence.silent_since,
    silence.overdue_since
FROM executions AS held
CROSS JOIN LATERAL silence(
    held.ended_at, held.first_recorded_at, held.recorded_at, held.provider, held.body,
    $5::json, coalesce($6::timestamptz, now())
) AS silence
WHERE
    held.tenant = $1
    AND held.ended_at IS NULL
    AND (held.first_recorded_at, held.execution_id) < ($2::timestamptz, $3::uuid)
    AND ($7::text IS NULL OR held.state = $7)
    AND ($8::text IS NULL OR held.operation = $8)
    AND ($9::text IS NULL OR held.provider = $9)
    AND ($10::boolean IS NULL OR (silence.silent_since IS NOT NULL) = $10)
    AND ($11::boolean IS NULL OR (silence.overdue_since IS NOT NULL) = $11)
ORDER BY held.first_recorded_at DESC, held.execution_id DESC
LIMIT $4
