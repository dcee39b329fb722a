-- What the log has of each partition from $1 up to, without, $2.
SELECT
    topic, partition, min("offset") AS first_offset, max("offset") AS last_offset,
    count(*) AS records, min(recorded_at) AS first_recorded_at, max(recorded_at) AS last_recorded_at
FROM event_log
WHERE recorded_at >= $1 AND recorded_at < $2
GROUP BY topic, partition
ORDER BY topic, partition
