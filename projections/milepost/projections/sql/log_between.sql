-- The records of the executions with ids from $1 to $2, each execution's in the order of folding.
SELECT
    execution_id::text AS id, tenant, ordinal, disposition, reason, topic, partition, "offset",
    recorded_at, key, headers, value
FROM event_log
WHERE execution_id BETWEEN $1 AND $2
ORDER BY execution_id, ordinal
