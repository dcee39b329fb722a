-- The archived months that may have records of a tenant from $2 up to, without, $3.
-- $1 tenant, $4 one execution of it or null
SELECT month, file, archived.sha256
FROM archived_months AS archived
CROSS JOIN (
    SELECT min(first_recorded_at) AS first, max(recorded_at) AS last
    FROM executions
    WHERE tenant = $1 AND ($4::uuid IS NULL OR execution_id = $4)
) AS known
WHERE
    last_recorded_at >= greatest($2, known.first)
    AND archived.first_recorded_at < $3
    AND archived.first_recorded_at <= known.last
ORDER BY month
