-- $1 tenant, $2 endpoint id, $3 secret id, $4 sealed, $5 now
INSERT INTO webhook_secrets (tenant, endpoint_id, secret_id, sealed, created_at)
VALUES ($1, $2, $3, $4, $5)
