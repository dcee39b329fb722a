-- A new endpoint; no row comes back where the tenant has the most that it may have.
-- $1 tenant, $2 endpoint id, $3 url, $4 description, $5 states, $6 operations, $7 now, $8 most of them
INSERT INTO webhook_endpoints (
    tenant, endpoint_id, url, description, states, operations, created_at, updated_at
)
SELECT $1, $2, $3, $4, $5, $6, $7, $7
WHERE (SELECT count(*) FROM webhook_endpoints WHERE tenant = $1) < $8::integer
RETURNING endpoint_id
