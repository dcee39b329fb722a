-- A tenant's records from $2 up to, without, $3, whole. $1 tenant, $4 one execution of it or null
SELECT
    topic, partition, "offset", tenant, execution_id::text AS execution_id, ordinal, type, source,
    event_id, occurred_at, recorded_at, disposition, reason, log_lines, key, headers, value, emitted,
    sha256
FROM event_log
WHERE
    tenant = $1 AND recorded_at >= $2 AND recorded_at < $3
    AND ($4::uuid IS NULL OR execution_id = $4)
ORDER BY topic, partition, "offset"
