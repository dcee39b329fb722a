-- The request that the API accepted for an execution. $1 execution id, $2 tenant or null
SELECT tenant, execution_id, fingerprint, headers, value, created_at, published_at
FROM requests
WHERE execution_id = $1 AND ($2::text IS NULL OR tenant = $2)
ORDER BY created_at, tenant
LIMIT 1
