-- Nothing where it was taken for lost meanwhile, redelivered or cancelled: then others decide.
-- $3 until when it was taken, $4 its new status, $5 when it is due again, or null: it has ended
UPDATE webhook_deliveries
SET status = $4,
    attempts = attempts + 1,
    due_at = now() + $5::interval,
    ended_at = CASE WHEN $5::interval IS NULL THEN now() END
WHERE tenant = $1 AND delivery_id = $2 AND status = 'pending' AND due_at = $3
RETURNING delivery_id
