-- The records of these executions above an ordinal of each, in the order of folding.
-- $1 ids, $2 their tenants, $3 ordinals
SELECT
    log.execution_id::text AS id, log.tenant, log.ordinal, log.disposition, log.reason, log.topic,
    log.partition, log."offset", log.recorded_at, log.key, log.headers, log.value
FROM unnest($1::uuid[], $2::text[], $3::bigint[]) AS named (execution_id, tenant, ordinal)
JOIN event_log AS log
    ON log.execution_id = named.execution_id
    AND log.tenant = named.tenant
    AND log.ordinal > named.ordinal
ORDER BY log.execution_id, log.ordinal
