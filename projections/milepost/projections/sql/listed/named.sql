-- Those whose ids lie between $16 and $17, by the primary key: too few to need their order. OFFSET keeps
-- Postgres from walking through all of the tenant's.
SELECT *
FROM (SELECT * FROM executions WHERE execution_id BETWEEN $16 AND $17 OFFSET 0) AS named
WHERE tenant = $1
