-- At most once a minute. $1 key id, $2 now
UPDATE api_keys SET last_used_at = $2
WHERE key_id = $1 AND (last_used_at IS NULL OR last_used_at <= $2::timestamptz - interval '1 minute')
