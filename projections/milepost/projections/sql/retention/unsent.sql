-- A partition with records from $1 up to, without, $2 of which nobody knows that they were relayed.
SELECT topic, partition
FROM event_log
LEFT JOIN positions USING (topic, partition)
WHERE
    event_log.recorded_at >= $1 AND event_log.recorded_at < $2 AND emitted IS NOT NULL
    AND "offset" >= coalesce(relayed, 0)
LIMIT 1
