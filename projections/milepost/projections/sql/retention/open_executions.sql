-- How many executions with records from $1 up to, without, $2 are not over, and one of them. What the
-- tables know less of than the log counts as well: a rebuild is due.
SELECT count(*) AS executions, min(logged.execution_id::text) AS one
FROM (
    SELECT execution_id, tenant, max(ordinal) AS ordinal
    FROM event_log
    WHERE recorded_at >= $1 AND recorded_at < $2 AND execution_id IS NOT NULL
    GROUP BY execution_id, tenant
) AS logged
LEFT JOIN public.executions AS held USING (execution_id, tenant)
WHERE held.ended_at IS NULL OR held.ordinal < logged.ordinal
