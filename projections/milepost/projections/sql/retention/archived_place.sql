-- The archived month that has, or spans, a record. $1 topic, $2 partition, $3 offset
SELECT month, file, encode(sha256, 'hex') AS sha256
FROM archived_offsets
JOIN archived_months USING (month)
WHERE topic = $1 AND partition = $2 AND $3 BETWEEN first_offset AND last_offset
ORDER BY month
LIMIT 1
