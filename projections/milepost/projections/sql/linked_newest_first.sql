-- A tenant's executions with a certain link, one page, the newest first.
-- $1 tenant, $2 and $3 key of the last one seen, $4 rows, $5 heartbeats by provider, $6 now; filters
-- or null: $7 state, $8 operation, $9 provider, $10 silent, $11 overdue; $12 relation, $13 its target
SELECT
    held.execution_id, held.first_recorded_at, held.body, silence.silent_since,
    silence.overdue_since
FROM execution_links AS link
JOIN executions AS held USING (tenant, execution_id)
CROSS JOIN LATERAL silence(
    held.ended_at, held.first_recorded_at, held.recorded_at, held.provider, held.body,
    $5::json, coalesce($6::timestamptz, now())
) AS silence
WHERE
    link.tenant = $1
    AND link.target = $13
    AND link.relation = $12
    AND (link.first_recorded_at, link.execution_id) < ($2::timestamptz, $3::uuid)
    AND ($7::text IS NULL OR held.state = $7)
    AND ($8::text IS NULL OR held.operation = $8)
    AND ($9::text IS NULL OR held.provider = $9)
    AND ($10::boolean IS NULL OR (silence.silent_since IS NOT NULL) = $10)
    AND ($11::boolean IS NULL OR (silence.overdue_since IS NOT NULL) = $11)
ORDER BY link.first_recorded_at DESC, link.execution_id DESC
LIMIT $4
