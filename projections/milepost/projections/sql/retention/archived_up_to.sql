-- The last offset of each partition of a topic that is in an archived month. $1 topic
SELECT partition, max(last_offset) AS last_offset
FROM archived_offsets
WHERE topic = $1
GROUP BY partition
