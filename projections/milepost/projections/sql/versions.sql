-- Where each of these executions stands. $1 execution ids
SELECT execution_id, tenant, state, version
FROM executions
WHERE execution_id = ANY($1::uuid[])
ORDER BY operation IS NULL, first_recorded_at, tenant
