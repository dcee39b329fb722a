-- The raw records that bring the last log lines of an execution, each event once: enough of them,
-- and few where they are large. $1 execution id, $2 tenant, $3 lines, $4 bytes
WITH first AS (
    -- At least once means that some come again; their lines count where they came first.
    SELECT DISTINCT ON (source, event_id) ordinal, log_lines, octet_length(value) AS bytes
    FROM event_log
    WHERE execution_id = $1 AND tenant = $2 AND log_lines > 0
    ORDER BY source, event_id, ordinal
),
page AS (
    SELECT
        ordinal,
        sum(log_lines) OVER from_the_end - log_lines AS lines_behind,
        sum(bytes) OVER from_the_end - bytes AS bytes_behind
    FROM first
    WINDOW from_the_end AS (ORDER BY ordinal DESC)
)
SELECT ordinal, topic, partition, "offset", recorded_at, key, headers, value
FROM event_log
JOIN page USING (ordinal)
WHERE execution_id = $1 AND tenant = $2 AND lines_behind < $3 AND bytes_behind < $4
ORDER BY ordinal
