-- How many records of an execution are in archived months, and these months.
-- $1 execution id, $2 tenant
WITH
-- First of all, and mostly none: only where there are some is it worth counting.
spanned AS MATERIALIZED (
    SELECT held.ordinal, archived.month, archived.file, encode(archived.sha256, 'hex') AS sha256
    FROM executions AS held
    JOIN archived_months AS archived
        ON archived.first_recorded_at <= held.recorded_at
        AND archived.last_recorded_at >= held.first_recorded_at
    WHERE held.execution_id = $1 AND held.tenant = $2
),

logged AS MATERIALIZED (
    SELECT count(*) AS records FROM event_log WHERE execution_id = $1 AND tenant = $2
)

SELECT ordinal - (SELECT records FROM logged) AS records, month, file, sha256
FROM spanned
WHERE ordinal > (SELECT records FROM logged)
ORDER BY month
