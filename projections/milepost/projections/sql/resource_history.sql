-- What executions did with a resource, in the order of their last reports on it, one page.
-- $1 kind, $2 id, $3 provider or null, $4 region or null, $5 to $9 key of the last one seen: time,
-- tenant, provider, region, execution id; $10 rows
WITH told AS (
    SELECT
        held.provider AS own_provider, held.region, held.kind, held.id, held.execution_id, held.tenant,
        execution.operation, execution.state,
        held.effective_provider AS provider, held.status, held.released, held.attributes,
        held.occurred_at, held.recorded_at
    FROM resources AS held
    JOIN executions AS execution USING (tenant, execution_id)
    WHERE
        held.kind = $1
        AND held.id = $2
        AND ($3::text IS NULL OR held.effective_provider = $3)
        AND ($4::text IS NULL OR held.region = $4)
),
history AS (
    SELECT
        *,
        CASE
            WHEN released THEN 'released'
            -- The first one known to have it, or to have it again.
            WHEN lag(released, 1, true) OVER one_resource THEN 'made'
            ELSE 'changed'
        END AS action
    FROM told
    WINDOW one_resource AS (
        PARTITION BY tenant, provider, region ORDER BY occurred_at, released, execution_id
    )
)
SELECT *
FROM history
WHERE
    (occurred_at, tenant, own_provider, region, execution_id)
    > ($5::timestamptz, $6::text, $7::text, $8::text, $9::uuid)
ORDER BY occurred_at, tenant, own_provider, region, execution_id
LIMIT $10
