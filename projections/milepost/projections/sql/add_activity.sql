INSERT INTO tenant_activity AS held (
    tenant, topic, partition, pending, running, succeeded, failed, cancelled,
    last_success_at, last_success, last_failure_at, last_failure
)
SELECT told.tenant, $1, $2, told.pending, told.running, told.succeeded, told.failed, told.cancelled,
    told.last_success_at, told.last_success, told.last_failure_at, told.last_failure
FROM unnest(
    $3::text[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[],
    $9::timestamptz[], $10::uuid[], $11::timestamptz[], $12::uuid[]
) AS told (
    tenant, pending, running, succeeded, failed, cancelled,
    last_success_at, last_success, last_failure_at, last_failure
)
ON CONFLICT (tenant, topic, partition) DO UPDATE
SET pending = held.pending + excluded.pending,
    running = held.running + excluded.running,
    succeeded = held.succeeded + excluded.succeeded,
    failed = held.failed + excluded.failed,
    cancelled = held.cancelled + excluded.cancelled,
    (last_success_at, last_success) = (
        SELECT greatest(held.last_success_at, excluded.last_success_at),
            CASE WHEN excluded.last_success_at >= held.last_success_at
                    OR held.last_success_at IS NULL
                THEN excluded.last_success ELSE held.last_success END
    ),
    (last_failure_at, last_failure) = (
        SELECT greatest(held.last_failure_at, excluded.last_failure_at),
            CASE WHEN excluded.last_failure_at >= held.last_failure_at
                    OR held.last_failure_at IS NULL
                THEN excluded.last_failure ELSE held.last_failure END
    )
