-- Every attempt of a delivery, the oldest first.
-- $1 tenant, $2 delivery id
SELECT attempted_at, duration_seconds, status_code, error, answer
FROM webhook_attempts
WHERE tenant = $1 AND delivery_id = $2
ORDER BY attempted_at
