UPDATE webhook_endpoints
SET failing_since = NULL
WHERE tenant = $1 AND endpoint_id = $2 AND failing_since IS NOT NULL
