-- The newest of a tenant's executions that are not over, up to the first that makes them 16 MiB.
-- $1 tenant, $2 states, $3 operation or null, $4 rows, $5 heartbeats by provider, $6 now
WITH newest AS (
    SELECT
        held.execution_id::text AS execution_id, held.tenant, held.state, held.version,
        held.operation IS NOT NULL AS requested, held.body, silence.silent_since, silence.overdue_since,
        NULL AS headers, held.first_recorded_at
    FROM executions AS held
    CROSS JOIN LATERAL silence(
        held.ended_at, held.first_recorded_at, held.recorded_at, held.provider, held.body,
        $5::json, coalesce($6::timestamptz, now())
    ) AS silence
    WHERE
        held.tenant = $1
        AND held.ended_at IS NULL
        AND held.state = ANY($2::text[])
        -- What is not known yet may be the one that is asked for.
        AND ($3::text IS NULL OR coalesce(held.operation, $3) = $3)
    ORDER BY held.first_recorded_at DESC, held.execution_id DESC
    LIMIT $4
),

measured AS (
    SELECT
        *,
        sum(octet_length(body::text)) OVER (ORDER BY first_recorded_at DESC, execution_id DESC) AS size
    FROM newest
)

SELECT execution_id, tenant, state, version, requested, body, silent_since, overdue_since, headers
FROM measured
WHERE size - octet_length(body::text) < 16777216
ORDER BY first_recorded_at DESC, execution_id DESC
