-- How many resources a tenant has: those whose last report, by whichever execution, does not say
-- released. $1 tenant
SELECT count(*)
FROM (
    SELECT
    FROM resources AS held
    -- Only a report that leaves the provider to its execution needs it.
    LEFT JOIN executions AS execution
    ON held.provider = ''
        AND execution.execution_id = held.execution_id
        AND execution.tenant = held.tenant
    WHERE held.tenant = $1
    GROUP BY coalesce(nullif(held.provider, ''), execution.provider), held.region, held.kind, held.id
    HAVING max(held.occurred_at) FILTER (WHERE NOT held.released)
        > coalesce(max(held.occurred_at) FILTER (WHERE held.released), '-infinity')
) AS in_use
