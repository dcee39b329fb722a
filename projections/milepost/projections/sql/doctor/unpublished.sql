-- Requests that nobody has published in time. $1 least age
SELECT count(*) AS requests, now() - min(created_at) AS longest
FROM requests
WHERE published_at IS NULL AND created_at < now() - $1::interval
