-- $1 tenant, $2 endpoint id, $3 now
DELETE FROM webhook_secrets
WHERE tenant = $1 AND endpoint_id = $2 AND expires_at <= $3
