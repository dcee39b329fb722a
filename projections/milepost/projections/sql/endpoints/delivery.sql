-- One delivery with its last attempt and what it sends.
-- $1 tenant, $2 delivery id
SELECT
    delivery.delivery_id, delivery.endpoint_id, delivery.message_id, message.type,
    message.execution_id, delivery.status, delivery.attempts, delivery.created_at, delivery.due_at,
    delivery.ended_at, attempt.attempted_at, attempt.status_code, attempt.error, message.payload
FROM webhook_deliveries AS delivery
JOIN webhook_messages AS message USING (tenant, message_id)
LEFT JOIN LATERAL (
    SELECT attempted_at, status_code, error
    FROM webhook_attempts
    WHERE tenant = delivery.tenant AND delivery_id = delivery.delivery_id
    ORDER BY attempted_at DESC
    LIMIT 1
) AS attempt ON true
WHERE delivery.tenant = $1 AND delivery.delivery_id = $2
