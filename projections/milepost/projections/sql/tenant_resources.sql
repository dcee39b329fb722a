-- The resources that a tenant's executions report, one page in the order of the key.
-- $1 tenant, $2 to $6 key of the last one seen: provider, region, kind, id, execution id; $7 rows;
-- filters or null: $8 kind, $9 released
SELECT
    held.provider AS own_provider, held.region, held.kind, held.id, held.execution_id, held.tenant,
    execution.operation, execution.state,
    held.effective_provider AS provider,
    held.status, held.released, held.attributes, held.occurred_at, held.recorded_at
FROM resources AS held
JOIN executions AS execution USING (execution_id, tenant)
WHERE
    held.tenant = $1
    AND (held.provider, held.region, held.kind, held.id, held.execution_id)
    > ($2::text, $3::text, $4::text, $5::text, $6::uuid)
    AND ($8::text IS NULL OR held.kind = $8)
    AND ($9::boolean IS NULL OR held.released = $9)
ORDER BY held.provider, held.region, held.kind, held.id, held.execution_id
LIMIT $7
