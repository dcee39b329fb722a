-- How far the fold of each partition is behind its log. $1 topic of the events
SELECT
    array_agg(partition) AS partitions,
    array_agg(greatest(end_offset - next_offset, 0)) AS behind,
    array_agg(end_offset_at) AS measured_at
FROM positions
WHERE topic = $1
