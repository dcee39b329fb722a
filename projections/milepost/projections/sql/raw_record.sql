-- One raw record, what the fold did with it, and the execution that it belongs to.
-- $1 topic, $2 partition, $3 offset
SELECT
    log.topic, log.partition, log."offset", log.recorded_at, log.tenant, log.execution_id,
    log.ordinal, log.disposition, log.reason, log.key, log.headers, log.value, log.emitted,
    log.sha256, held.body
FROM event_log AS log
LEFT JOIN executions AS held USING (execution_id, tenant)
WHERE log.topic = $1 AND log.partition = $2 AND log."offset" = $3
