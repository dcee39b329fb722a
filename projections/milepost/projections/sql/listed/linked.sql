-- Those with a certain link, by the primary key of execution_links. $21 relation, $22 its target
SELECT
    link.execution_id, link.first_recorded_at, held.state, held.operation, held.provider, held.labels,
    held.recorded_at, held.ended_at, held.body
FROM execution_links AS link
JOIN executions AS held USING (tenant, execution_id)
WHERE link.tenant = $1 AND link.target = $22 AND link.relation = $21
