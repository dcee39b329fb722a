-- The live rows of the executions with ids from $1 to $2.
SELECT
    execution_id::text AS id, tenant, state, version, ordinal, operation, provider, labels,
    first_recorded_at, recorded_at, ended_at, body
FROM public.executions
WHERE execution_id BETWEEN $1 AND $2
