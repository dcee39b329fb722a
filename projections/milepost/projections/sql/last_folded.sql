-- The last record of a partition below its position $3
SELECT "offset", recorded_at, key, headers, value
FROM event_log
WHERE topic = $1 AND partition = $2 AND "offset" < $3
ORDER BY "offset" DESC
LIMIT 1
