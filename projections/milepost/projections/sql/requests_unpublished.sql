-- Requests that nobody has published in time, and that no other process is publishing now.
-- $1 least age, $2 rows
SELECT tenant, execution_id, fingerprint, headers, value, created_at, published_at
FROM requests
WHERE published_at IS NULL AND created_at < now() - $1::interval
ORDER BY created_at
LIMIT $2
FOR UPDATE SKIP LOCKED
