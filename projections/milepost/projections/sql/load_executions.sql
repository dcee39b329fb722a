SELECT held.body
FROM unnest($1::uuid[], $2::text[]) AS named (execution_id, tenant)
JOIN executions AS held USING (execution_id, tenant)
