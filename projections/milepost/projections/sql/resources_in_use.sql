-- How many resources a tenant has: those whose last report, by whichever execution, does not say
-- released. $1 tenant
SELECT count(*)
FROM (
    SELECT
    FROM resources
    WHERE tenant = $1
    GROUP BY effective_provider, region, kind, id
    HAVING max(occurred_at) FILTER (WHERE NOT released)
        > coalesce(max(occurred_at) FILTER (WHERE released), '-infinity')
) AS in_use
