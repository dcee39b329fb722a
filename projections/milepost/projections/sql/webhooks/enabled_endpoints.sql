SELECT endpoint_id FROM webhook_endpoints WHERE tenant = $1 AND disabled_at IS NULL ORDER BY endpoint_id
