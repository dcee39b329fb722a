INSERT INTO resources (
    tenant, provider, region, kind, id, execution_id, status, released, attributes, occurred_at,
    recorded_at, effective_provider, left_by
)
SELECT * FROM unnest(
    $1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::uuid[], $7::text[],
    $8::boolean[], $9::json[], $10::timestamptz[], $11::timestamptz[],
    $12::text[], $13::text[]
)
ON CONFLICT (tenant, provider, region, kind, id, execution_id) DO UPDATE
SET status = excluded.status,
    released = excluded.released,
    attributes = excluded.attributes,
    occurred_at = excluded.occurred_at,
    recorded_at = excluded.recorded_at,
    effective_provider = excluded.effective_provider,
    left_by = excluded.left_by
