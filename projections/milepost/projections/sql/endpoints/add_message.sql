-- $1 tenant, $2 message id, $3 type, $4 payload
INSERT INTO webhook_messages (tenant, message_id, type, payload, created_at)
VALUES ($1, $2, $3, $4, now())
