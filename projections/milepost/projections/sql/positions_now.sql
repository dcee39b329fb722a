-- How far each partition is folded, and how far that is behind its log. $1 topic of the events
SELECT
    partition, next_offset,
    -- greatest() ignores null, which says that the end is not known.
    CASE WHEN end_offset IS NOT NULL THEN greatest(end_offset - next_offset, 0) END AS behind,
    end_offset_at, problem
FROM positions
WHERE topic = $1
