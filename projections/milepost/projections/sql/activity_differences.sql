-- Tenants whose activity does not say what states their executions are in.
WITH counted AS (
    SELECT
        tenant,
        count(*) FILTER (WHERE state = 'pending') AS pending,
        count(*) FILTER (WHERE state = 'running') AS running,
        count(*) FILTER (WHERE state = 'succeeded') AS succeeded,
        count(*) FILTER (WHERE state = 'failed') AS failed,
        count(*) FILTER (WHERE state = 'cancelled') AS cancelled
    FROM executions
    GROUP BY tenant
),

told AS (
    SELECT
        tenant,
        sum(pending) AS pending,
        sum(running) AS running,
        sum(succeeded) AS succeeded,
        sum(failed) AS failed,
        sum(cancelled) AS cancelled
    FROM tenant_activity
    GROUP BY tenant
)

SELECT tenant
FROM counted FULL JOIN told USING (tenant)
WHERE
    coalesce(counted.pending, 0) <> coalesce(told.pending, 0)
    OR coalesce(counted.running, 0) <> coalesce(told.running, 0)
    OR coalesce(counted.succeeded, 0) <> coalesce(told.succeeded, 0)
    OR coalesce(counted.failed, 0) <> coalesce(told.failed, 0)
    OR coalesce(counted.cancelled, 0) <> coalesce(told.cancelled, 0)
ORDER BY tenant
