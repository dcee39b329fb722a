-- $1 tenant, $2 delivery id, $3 endpoint id, $4 message id
INSERT INTO webhook_deliveries (
    tenant, delivery_id, endpoint_id, message_id, created_at, status, due_at
)
VALUES ($1, $2, $3, $4, now(), 'pending', now())
