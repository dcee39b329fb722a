-- The executions that name another one in a link, one page in the order of their first records.
-- $1 tenant, $2 the execution named, $3 to $5 key of the last one seen: first recorded time, execution
-- id, relation; $6 rows
SELECT
    link.relation, link.execution_id, link.first_recorded_at, held.operation, held.state
FROM execution_links AS link
JOIN executions AS held USING (tenant, execution_id)
WHERE
    link.tenant = $1
    AND link.target = $2
    AND link.relation <> 'workflow_id'
    AND (link.first_recorded_at, link.execution_id, link.relation)
    > ($3::timestamptz, $4::uuid, $5::text)
ORDER BY link.first_recorded_at, link.execution_id, link.relation
LIMIT $6
