-- The live rows of these executions. $1 ids, $2 their tenants
SELECT
    execution_id::text AS id, tenant, state, version, ordinal, operation, provider, labels,
    first_recorded_at, recorded_at, ended_at, body
FROM unnest($1::uuid[], $2::text[]) AS named (execution_id, tenant)
JOIN public.executions USING (execution_id, tenant)
