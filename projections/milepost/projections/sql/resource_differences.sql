-- Executions whose rows in `resources` are not what their bodies say.
WITH told AS (
    SELECT
        tenant, execution_id, item ->> 0 AS kind, item ->> 1 AS id, item ->> 2 AS provider,
        item ->> 3 AS region, item -> 4 -> 'status' ->> 1 AS status,
        (item -> 4 -> 'attributes' -> 1)::text AS attributes
    FROM executions, json_array_elements(body -> 'resources') AS item
)

SELECT DISTINCT tenant, execution_id::text AS id
FROM told
FULL JOIN resources AS held USING (tenant, execution_id, kind, id, provider, region)
WHERE
    -- Null where there is no such row.
    held.released IS DISTINCT FROM (coalesce(told.status, '') = 'released')
    OR told.status IS DISTINCT FROM held.status
    OR told.attributes IS DISTINCT FROM held.attributes::text
    OR told.tenant IS NULL
ORDER BY tenant, id
