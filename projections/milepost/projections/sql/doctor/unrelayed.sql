-- How long the oldest record whose outcome is to be sent out has waited, and which partitions have such.
-- $1 topic of the events, $2 partitions, $3 up to where, without, each has been relayed
SELECT now() - min(waiting.recorded_at) AS waited, array_agg(held.partition ORDER BY held.partition) AS partitions
FROM unnest($2::integer[], $3::bigint[]) AS told (partition, relayed)
JOIN positions AS held ON held.topic = $1 AND held.partition = told.partition
CROSS JOIN LATERAL (
    SELECT log.recorded_at
    FROM event_log AS log
    WHERE
        log.topic = $1
        AND log.partition = held.partition
        AND log."offset" >= told.relayed
        AND log."offset" < held.next_offset
        AND log.emitted IS NOT NULL
    ORDER BY log."offset"
    LIMIT 1
) AS waiting
