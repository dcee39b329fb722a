-- $1 key id, $2 name, $3 hash of the secret, $4 grants, $5 providers or null, $6 now, $7 by whom,
-- $8 when it expires or null
INSERT INTO api_keys (
    key_id, name, secret_sha256, grants, providers, created_at, created_by, expires_at
)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
