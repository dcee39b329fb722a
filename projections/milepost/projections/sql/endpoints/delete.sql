-- An endpoint with its secrets; what was sent to it stays.
-- $1 tenant, $2 endpoint id
DELETE FROM webhook_endpoints
WHERE tenant = $1 AND endpoint_id = $2
RETURNING endpoint_id
