-- What a tenant has, over all partitions. $1 tenant
SELECT
    coalesce(sum(pending), 0)::bigint AS pending,
    coalesce(sum(running), 0)::bigint AS running,
    coalesce(sum(succeeded), 0)::bigint AS succeeded,
    coalesce(sum(failed), 0)::bigint AS failed,
    coalesce(sum(cancelled), 0)::bigint AS cancelled,
    max(last_success_at) AS last_success_at,
    (array_agg(last_success ORDER BY last_success_at DESC NULLS LAST))[1] AS last_success,
    max(last_failure_at) AS last_failure_at,
    (array_agg(last_failure ORDER BY last_failure_at DESC NULLS LAST))[1] AS last_failure
FROM tenant_activity
WHERE tenant = $1
