-- Nothing that waits for this endpoint is sent any more.
-- $1 tenant, $2 endpoint id, $3 now
UPDATE webhook_deliveries
SET status = 'cancelled', due_at = NULL, ended_at = $3
WHERE tenant = $1 AND endpoint_id = $2 AND status = 'pending'
