-- Records put aside lately, by reason: how many, and the last one. Only they have no execution.
-- $1 how lately, $2 most records to look at
WITH lately AS (
    SELECT topic, partition, "offset", recorded_at, split_part(coalesce(reason, ''), ':', 1) AS reason
    FROM event_log
    WHERE execution_id IS NULL AND recorded_at > now() - $1::interval
    LIMIT $2
)

SELECT
    reason,
    count(*) AS records,
    (array_agg(topic ORDER BY recorded_at DESC, "offset" DESC))[1] AS topic,
    (array_agg(partition ORDER BY recorded_at DESC, "offset" DESC))[1] AS partition,
    (array_agg("offset" ORDER BY recorded_at DESC, "offset" DESC))[1] AS "offset"
FROM lately
GROUP BY reason
ORDER BY records DESC
LIMIT 5
