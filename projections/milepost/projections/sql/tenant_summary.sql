-- What a tenant has, over all partitions, and why its last failed execution failed. $1 tenant
WITH activity AS (
    SELECT
        coalesce(sum(pending), 0)::bigint AS pending,
        coalesce(sum(running), 0)::bigint AS running,
        coalesce(sum(succeeded), 0)::bigint AS succeeded,
        coalesce(sum(failed), 0)::bigint AS failed,
        coalesce(sum(cancelled), 0)::bigint AS cancelled,
        max(last_success_at) AS last_success_at,
        (array_agg(last_success ORDER BY last_success_at DESC NULLS LAST, last_success DESC))[1]
            AS last_success,
        max(last_failure_at) AS last_failure_at,
        (array_agg(last_failure ORDER BY last_failure_at DESC NULLS LAST, last_failure DESC))[1]
            AS last_failure
    FROM tenant_activity
    WHERE tenant = $1
)
SELECT
    activity.*,
    execution.body #>> '{facts,outcome,1,failure,code}' AS last_failure_code,
    execution.body #>> '{facts,outcome,1,failure,message}' AS last_failure_message
FROM activity
LEFT JOIN executions AS execution
ON execution.execution_id = activity.last_failure AND execution.tenant = $1
