-- One API key. $1 key id
SELECT
    key_id, name, secret_sha256, grants, providers, created_at, created_by, expires_at, revoked_at,
    revoked_by, last_used_at
FROM api_keys
WHERE key_id = $1
