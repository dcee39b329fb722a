-- Which executions report this resource, one page in the order of the key.
-- $1 kind, $2 id, $3 to $6 key of the last one seen: tenant, provider, region, execution id; $7 rows
SELECT
    held.provider AS own_provider, held.region, held.kind, held.id, held.execution_id, held.tenant,
    coalesce(nullif(held.provider, ''), execution.provider) AS provider,
    held.status, held.released, held.attributes, held.occurred_at, held.recorded_at
FROM resources AS held
JOIN executions AS execution USING (execution_id, tenant)
WHERE
    held.kind = $1
    AND held.id = $2
    AND (held.tenant, held.provider, held.region, held.execution_id)
    > ($3::text, $4::text, $5::text, $6::uuid)
ORDER BY held.tenant, held.provider, held.region, held.execution_id
LIMIT $7
