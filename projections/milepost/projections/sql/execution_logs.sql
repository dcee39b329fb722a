-- The raw records that bring log lines, each event once: enough of them for one page of lines.
-- Few where they are large; `more` says whether there are others. $1 execution id, $2 tenant, $3 ordinal
-- of the record in which the page begins, $4 lines, $5 bytes
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
        sum(log_lines) OVER in_order - log_lines AS lines_before,
        sum(bytes) OVER in_order - bytes AS bytes_before,
        lead(ordinal) OVER in_order IS NOT NULL AS more
    FROM (SELECT * FROM first WHERE ordinal >= $3 ORDER BY ordinal LIMIT $4) AS ahead
    WINDOW in_order AS (ORDER BY ordinal)
)
SELECT ordinal, topic, partition, "offset", recorded_at, key, headers, value, more
FROM event_log
JOIN page USING (ordinal)
WHERE execution_id = $1 AND tenant = $2 AND lines_before < $4 AND bytes_before < $5
ORDER BY ordinal
