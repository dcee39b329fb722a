-- The executions that ids name, a row an id in their order: as the fold holds them, and the requests that
-- the API accepted. For one alone execution.sql takes a quarter of the time.
-- What comes after 16 MiB of them is `left_out`.
-- $1 execution ids, $2 tenant or null, $3 heartbeats by provider, $4 now
WITH found AS (
    SELECT
        held.tenant, held.state, held.version, held.operation IS NOT NULL AS requested, held.body,
        silence.silent_since, silence.overdue_since,
        noted.tenant AS noted_for, asked.execution_id, noted.fingerprint, noted.headers, noted.value,
        noted.created_at, noted.published_at,
        asked.place,
        coalesce(sum(coalesce(octet_length(held.body::text), octet_length(noted.value), 0)) OVER (
            ORDER BY asked.place ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ), 0) >= 16777216 AS left_out
    FROM unnest($1::uuid[]) WITH ORDINALITY AS asked (execution_id, place)
    LEFT JOIN LATERAL (
        SELECT *
        FROM requests
        WHERE execution_id = asked.execution_id AND ($2::text IS NULL OR tenant = $2)
        ORDER BY created_at, tenant
        LIMIT 1
    ) AS noted ON true
    LEFT JOIN LATERAL (
        SELECT *
        FROM executions
        WHERE
            execution_id = asked.execution_id
            AND ($2::text IS NULL OR tenant = $2)
            -- Any publisher can report under an id; only its true tenant's request gives an operation, and
            -- a request that was accepted says whose it is before that is folded.
            AND (operation IS NOT NULL OR noted.tenant IS NULL OR noted.tenant = tenant)
        ORDER BY operation IS NULL, first_recorded_at, tenant
        LIMIT 1
    ) AS held ON true
    LEFT JOIN LATERAL silence(
        held.ended_at, held.first_recorded_at, held.recorded_at, held.provider, held.body,
        $3::json, coalesce($4::timestamptz, now())
    ) AS silence ON true
)

SELECT
    tenant, state, version, requested, CASE WHEN NOT left_out THEN body END AS body, silent_since,
    overdue_since, noted_for, execution_id, fingerprint, headers,
    CASE WHEN NOT left_out THEN value END AS value, created_at, published_at, left_out
FROM found
ORDER BY place
