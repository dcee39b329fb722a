-- By the index executions_by_tenant.
SELECT * FROM executions WHERE tenant = $1
