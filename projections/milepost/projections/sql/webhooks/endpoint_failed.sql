-- $3 when it was called
UPDATE webhook_endpoints
SET failing_since = coalesce(failing_since, $3)
WHERE tenant = $1 AND endpoint_id = $2 AND disabled_at IS NULL
RETURNING failing_since
