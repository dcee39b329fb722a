-- An endpoint that nobody else changes, disables or deletes until the transaction ends.
-- $1 tenant, $2 endpoint id
SELECT
    endpoint_id, url, description, states, operations, created_at, updated_at, disabled_at,
    disabled_reason, failing_since
FROM webhook_endpoints
WHERE tenant = $1 AND endpoint_id = $2
FOR UPDATE
