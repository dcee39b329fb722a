-- A row that somebody else folded since it was read is left alone: the caller counts and retries.
UPDATE executions AS held
SET state = new.state,
    version = new.version,
    ordinal = new.ordinal,
    operation = new.operation,
    provider = new.provider,
    labels = new.labels,
    recorded_at = new.recorded_at,
    ended_at = new.ended_at,
    body = new.body
FROM unnest(
    $1::uuid[], $2::text[], $3::bigint[], $4::text[], $5::bigint[], $6::bigint[], $7::text[],
    $8::text[], $9::json[], $10::timestamptz[], $11::timestamptz[], $12::json[]
) AS new (
    execution_id, tenant, read_ordinal, state, version, ordinal, operation,
    provider, labels, recorded_at, ended_at, body
)
WHERE held.execution_id = new.execution_id
    AND held.tenant = new.tenant
    AND held.ordinal = new.read_ordinal
