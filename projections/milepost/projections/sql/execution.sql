-- The execution that an id names, and how far the fold of each partition is behind its log.
-- $1 execution id, $2 tenant or null, $3 topic of the events, $4 heartbeats by provider, $5 now
SELECT
    held.tenant, held.state, held.version, held.operation IS NOT NULL AS requested, held.body,
    silence.silent_since, silence.overdue_since,
    lag.partitions, lag.behind, lag.measured_at, lag.problems
FROM executions AS held
CROSS JOIN LATERAL silence(
    held.ended_at, held.first_recorded_at, held.recorded_at, held.provider, held.body,
    $4::json, coalesce($5::timestamptz, now())
) AS silence
CROSS JOIN (
    SELECT
        array_agg(partition) AS partitions,
        -- greatest() ignores null, which says that the end is not known.
        array_agg(
            CASE WHEN end_offset IS NOT NULL THEN greatest(end_offset - next_offset, 0) END
        ) AS behind,
        array_agg(end_offset_at) AS measured_at,
        array_agg(problem) AS problems
    FROM positions
    WHERE topic = $3
) AS lag
WHERE held.execution_id = $1 AND ($2::text IS NULL OR held.tenant = $2)
-- Any publisher can report under an id; only its true tenant's request gives an operation.
ORDER BY held.operation IS NULL, held.first_recorded_at, held.tenant
LIMIT 1
