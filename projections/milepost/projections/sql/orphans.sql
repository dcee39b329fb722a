-- A tenant's resources that a failed or cancelled execution left behind, one page in the order of the
-- key: nobody has reported on them since, neither their release nor that they are in use again.
-- $1 tenant, $2 to $6 key of the last one seen: provider, region, kind, id, execution id; $7 rows
SELECT
    held.provider AS own_provider, held.region, held.kind, held.id, held.execution_id, held.tenant,
    execution.operation, execution.state, held.effective_provider AS provider,
    held.status, held.released, held.attributes, held.occurred_at, held.recorded_at
FROM resources AS held
JOIN executions AS execution USING (tenant, execution_id)
WHERE
    held.tenant = $1
    AND held.left_by IS NOT NULL
    AND NOT held.released
    AND (held.provider, held.region, held.kind, held.id, held.execution_id)
    > ($2::text, $3::text, $4::text, $5::text, $6::uuid)
    AND NOT EXISTS (
        SELECT FROM resources AS later
        WHERE
            later.tenant = held.tenant
            AND later.kind = held.kind
            AND later.id = held.id
            AND later.region = held.region
            AND later.effective_provider IS NOT DISTINCT FROM held.effective_provider
            AND (later.occurred_at, later.released, later.execution_id)
            > (held.occurred_at, held.released, held.execution_id)
    )
ORDER BY held.provider, held.region, held.kind, held.id, held.execution_id
LIMIT $7
