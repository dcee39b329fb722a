-- The executions that records between two positions of each partition belong to, as they are now.
-- $1 topic, $2 partitions, $3 their first offsets, $4 and the ones to stop before; $5 tenants and
-- $6 execution ids: what belongs to one of either; $7 heartbeats by provider, $8 now
WITH touched AS (
    SELECT
        log.execution_id, log.tenant,
        -- Of the first record only: the one that ends an execution sends out nothing but its completion.
        array_agg(log.emitted[3]) FILTER (WHERE log.emitted IS NOT NULL) AS headers
    FROM unnest($2::integer[], $3::bigint[], $4::bigint[]) AS wanted (partition, first, stop)
    JOIN event_log AS log
        ON log.topic = $1
        AND log.partition = wanted.partition
        AND log."offset" >= wanted.first
        AND log."offset" < wanted.stop
    WHERE
        (log.tenant = ANY($5::text[]) OR log.execution_id = ANY($6::uuid[]))
        AND log.disposition <> 'duplicate'
    GROUP BY log.execution_id, log.tenant
)
SELECT
    held.execution_id::text AS execution_id, held.tenant, held.state, held.version,
    held.operation IS NOT NULL AS requested, held.body, silence.silent_since, silence.overdue_since,
    touched.headers
FROM touched
JOIN executions AS held USING (execution_id, tenant)
CROSS JOIN LATERAL silence(
    held.ended_at, held.first_recorded_at, held.recorded_at, held.provider, held.body,
    $7::json, coalesce($8::timestamptz, now())
) AS silence
ORDER BY held.recorded_at, held.execution_id
