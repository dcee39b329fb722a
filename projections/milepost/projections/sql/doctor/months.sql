-- Partitions of the log that are missing, and what lies in the default one.
-- $1 names that there should be, $2 most records to count
WITH stray AS (SELECT recorded_at FROM event_log_default LIMIT $2)

SELECT
    ARRAY(
        SELECT name FROM unnest($1::text[]) AS name WHERE to_regclass(name) IS NULL ORDER BY name
    ) AS missing,
    (SELECT count(*) FROM stray) AS stray,
    ARRAY(
        SELECT DISTINCT to_char(recorded_at AT TIME ZONE 'UTC', 'YYYY-MM') FROM stray ORDER BY 1
    ) AS stray_months
