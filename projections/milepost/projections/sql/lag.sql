-- How far the fold of each partition is behind its log. $1 topic of the events
SELECT
    array_agg(partition) AS partitions,
    -- greatest() ignores null, which says that the end is not known.
    array_agg(
        CASE WHEN end_offset IS NOT NULL THEN greatest(end_offset - next_offset, 0) END
    ) AS behind,
    array_agg(end_offset_at) AS measured_at,
    array_agg(problem) AS problems
FROM positions
WHERE topic = $1
