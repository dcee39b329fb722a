-- How the executions at the other ends of links stand; null where they are not known.
-- $1 tenant, $2 relations, $3 execution ids
SELECT
    link.relation, link.execution_id, held.first_recorded_at, held.operation, held.state
FROM unnest($2::text[], $3::uuid[]) AS link (relation, execution_id)
LEFT JOIN executions AS held ON held.execution_id = link.execution_id AND held.tenant = $1
ORDER BY link.relation
