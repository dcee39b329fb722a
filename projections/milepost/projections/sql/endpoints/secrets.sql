-- The secrets of an endpoint that are valid, the newest first: the one without an end.
-- $1 tenant, $2 endpoint id, $3 now
SELECT sealed, created_at, expires_at
FROM webhook_secrets
WHERE tenant = $1 AND endpoint_id = $2 AND (expires_at IS NULL OR expires_at > $3)
ORDER BY expires_at DESC NULLS FIRST, created_at DESC
