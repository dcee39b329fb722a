-- $1 name, $2 now, $3 by whom
UPDATE api_keys SET revoked_at = $2, revoked_by = $3 WHERE name = $1 AND revoked_at IS NULL
