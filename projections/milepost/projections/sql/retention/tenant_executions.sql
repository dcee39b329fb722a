-- A tenant's executions with records between $2 and $3. $1 tenant, $4 one execution of it or null
SELECT body
FROM executions
WHERE
    tenant = $1 AND first_recorded_at < $3 AND recorded_at >= $2
    AND ($4::uuid IS NULL OR execution_id = $4)
ORDER BY first_recorded_at, execution_id
