-- Executions whose rows in `resources` are not what their own rows say.
WITH told AS (
    SELECT
        tenant, execution_id, item ->> 0 AS kind, item ->> 1 AS id, item ->> 2 AS provider,
        item ->> 3 AS region, item -> 4 -> 'status' ->> 1 AS status,
        (item -> 4 -> 'attributes' -> 1)::text AS attributes,
        coalesce(nullif(item ->> 2, ''), executions.provider) AS effective_provider,
        CASE WHEN state IN ('failed', 'cancelled') THEN state END AS left_by
    FROM executions, json_array_elements(body -> 'resources') AS item
)

SELECT DISTINCT tenant, execution_id::text AS id
FROM told
FULL JOIN resources AS held USING (tenant, execution_id, kind, id, provider, region)
WHERE
    told.tenant IS NULL
    OR held.tenant IS NULL
    OR held.released <> (coalesce(told.status, '') = 'released')
    OR told.status IS DISTINCT FROM held.status
    OR told.attributes IS DISTINCT FROM held.attributes::text
    OR told.effective_provider IS DISTINCT FROM held.effective_provider
    OR told.left_by IS DISTINCT FROM held.left_by
ORDER BY tenant, id
