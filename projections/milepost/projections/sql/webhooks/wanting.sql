-- Which enabled endpoints want which of these completions: (number of the completion, endpoint).
-- Until this transaction ends, nobody disables one of them.
-- $1 tenant, $2 state, $3 operation (null: not known yet, so it matches), $4 recorded, one a completion
-- $5 by how much the clocks of the broker and the database may differ
SELECT offered.number - 1 AS number, endpoint.endpoint_id
FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[])
WITH ORDINALITY AS offered (tenant, state, operation, recorded_at, number)
JOIN webhook_endpoints AS endpoint ON endpoint.tenant = offered.tenant
WHERE endpoint.disabled_at IS NULL
    AND offered.state = ANY(endpoint.states)
    AND (
        endpoint.operations IS NULL
        OR offered.operation IS NULL
        OR offered.operation = ANY(endpoint.operations)
    )
    AND offered.recorded_at >= endpoint.created_at - $5::interval
ORDER BY endpoint.tenant, endpoint.endpoint_id
FOR SHARE OF endpoint
