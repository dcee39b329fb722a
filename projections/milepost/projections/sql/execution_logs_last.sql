-- The raw records that bring the last log lines of an execution, each event once: enough of them.
-- $1 execution id, $2 tenant, $3 lines
WITH first AS (
    -- At least once means that some come again; their lines count where they came first.
    SELECT DISTINCT ON (source, event_id) ordinal, log_lines
    FROM event_log
    WHERE execution_id = $1 AND tenant = $2 AND log_lines > 0
    ORDER BY source, event_id, ordinal
),
page AS (
    SELECT ordinal, sum(log_lines) OVER (ORDER BY ordinal DESC) - log_lines AS lines_behind
    FROM first
)
SELECT ordinal, topic, partition, "offset", recorded_at, key, headers, value
FROM event_log
JOIN page USING (ordinal)
WHERE execution_id = $1 AND tenant = $2 AND lines_behind < $3
ORDER BY ordinal
