-- Secrets of an endpoint end by this time; those that end before keep their own.
-- $1 tenant, $2 endpoint id, $3 the end
UPDATE webhook_secrets
SET expires_at = $3
WHERE tenant = $1 AND endpoint_id = $2 AND (expires_at IS NULL OR expires_at > $3)
