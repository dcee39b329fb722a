-- Again after a commit of unknown outcome: the same attempt.
INSERT INTO webhook_attempts (
    tenant, delivery_id, attempted_at, duration_seconds, status_code, error, answer
)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT DO NOTHING
