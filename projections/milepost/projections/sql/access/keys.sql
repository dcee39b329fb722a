-- API keys all of whose tenants are among these, the newest first.
-- $1 tenants, or null for any; $2 created at and $3 key id of the last one seen, $4 rows
SELECT
    key_id, name, secret_sha256, grants, providers, created_at, created_by, expires_at, revoked_at,
    revoked_by, last_used_at
FROM api_keys
WHERE ($1::text[] IS NULL OR tenants_of(grants) <@ $1)
    AND (created_at, key_id) < ($2::timestamptz, $3::text COLLATE "C")
ORDER BY created_at DESC, key_id DESC
LIMIT $4
