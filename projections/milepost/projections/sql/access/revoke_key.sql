-- The first revocation stays. $1 key id, $2 now, $3 by whom
UPDATE api_keys
SET revoked_at = coalesce(revoked_at, $2), revoked_by = coalesce(revoked_by, $3)
WHERE key_id = $1
