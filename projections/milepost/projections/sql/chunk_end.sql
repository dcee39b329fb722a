-- The last execution of a chunk of at least $2 rows that begins with id $1; null where there is no
-- such chunk. Its records may have left the log, and its row may be lost.
SELECT least(
    (
        SELECT execution_id FROM event_log
        WHERE execution_id >= $1 ORDER BY execution_id OFFSET $2 LIMIT 1
    ),
    (
        SELECT execution_id FROM public.executions
        WHERE execution_id >= $1 ORDER BY execution_id OFFSET $2 LIMIT 1
    )
)
