-- The months before $1 whose records went to the default partition, and whether they are archived.
SELECT found.month, archived.month IS NOT NULL AS archived
FROM (
    SELECT DISTINCT date_trunc('month', recorded_at AT TIME ZONE 'UTC')::date AS month
    FROM event_log_default
    WHERE recorded_at < $1
) AS found
LEFT JOIN archived_months AS archived USING (month)
ORDER BY found.month
