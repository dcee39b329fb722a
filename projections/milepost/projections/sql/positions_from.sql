-- How far each partition is folded and how far that is behind its log, and where to stop in it after
-- so many records. $1 topic of the events, $2 partitions, $3 first offsets in them, 0 in any other,
-- $4 records
SELECT
    positions.partition, positions.next_offset,
    coalesce(ahead."offset", positions.next_offset) AS stop,
    -- greatest() ignores null, which says that the end is not known.
    CASE WHEN end_offset IS NOT NULL THEN greatest(end_offset - next_offset, 0) END AS behind,
    positions.end_offset_at, positions.problem
FROM positions
LEFT JOIN unnest($2::integer[], $3::bigint[]) AS since (partition, first) USING (partition)
LEFT JOIN LATERAL (
    SELECT log."offset"
    FROM event_log AS log
    WHERE
        log.topic = $1
        AND log.partition = positions.partition
        AND log."offset" >= coalesce(since.first, 0)
        AND log."offset" < positions.next_offset
    ORDER BY log."offset"
    OFFSET $4 LIMIT 1
) AS ahead ON true
WHERE positions.topic = $1
