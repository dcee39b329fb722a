-- What did not arrive, or not yet, one page, the newest first, each with its last attempt. Of these there
-- is an index of their own: they are few among many.
-- $1 tenant, $2 and $3 key of the last one seen: when it was created, delivery id; $4 rows, $5 status,
-- $6 since, $7 before, $8 endpoint id, or null: of all
SELECT
    delivery.delivery_id, delivery.endpoint_id, delivery.message_id, message.type,
    message.execution_id, delivery.status, delivery.attempts, delivery.created_at, delivery.due_at,
    delivery.ended_at, attempt.attempted_at, attempt.status_code, attempt.error
FROM webhook_deliveries AS delivery
JOIN webhook_messages AS message USING (tenant, message_id)
LEFT JOIN LATERAL (
    SELECT attempted_at, status_code, error
    FROM webhook_attempts
    WHERE tenant = delivery.tenant AND delivery_id = delivery.delivery_id
    ORDER BY attempted_at DESC
    LIMIT 1
) AS attempt ON true
WHERE
    delivery.tenant = $1
    AND delivery.status <> 'delivered'
    AND ($8::uuid IS NULL OR delivery.endpoint_id = $8)
    AND (delivery.created_at, delivery.delivery_id) < ($2::timestamptz, $3::uuid)
    AND delivery.status = $5
    AND delivery.created_at >= $6
    AND delivery.created_at < $7
ORDER BY delivery.created_at DESC, delivery.delivery_id DESC
LIMIT $4
