-- How many records of an execution are in archived months, and these months.
-- $1 execution id, $2 tenant
SELECT
    held.ordinal - logged.records AS records,
    archived.month, archived.file, encode(archived.sha256, 'hex') AS sha256
FROM executions AS held
JOIN archived_months AS archived
    ON archived.first_recorded_at <= held.recorded_at
    AND archived.last_recorded_at >= held.first_recorded_at
CROSS JOIN LATERAL (
    SELECT count(*) AS records FROM event_log WHERE execution_id = $1 AND tenant = $2
) AS logged
WHERE held.execution_id = $1 AND held.tenant = $2 AND held.ordinal > logged.records
ORDER BY archived.month
