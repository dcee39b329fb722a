-- A tenant's endpoints, one page, the oldest first.
-- $1 tenant, $2 and $3 key of the last one seen: when it was created, endpoint id; $4 rows
SELECT
    endpoint_id, url, description, states, operations, created_at, updated_at, disabled_at,
    disabled_reason, failing_since
FROM webhook_endpoints
WHERE tenant = $1 AND (created_at, endpoint_id) > ($2::timestamptz, $3::uuid)
ORDER BY created_at, endpoint_id
LIMIT $4
