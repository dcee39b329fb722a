-- $1 tenant, $2 delivery ids
UPDATE webhook_deliveries
SET status = 'pending', attempts = 0, due_at = now(), ended_at = NULL
WHERE tenant = $1 AND delivery_id = any($2::uuid [])
