-- Every record from $1 up to, without, $2, whole.
SELECT
    topic, partition, "offset", tenant, execution_id::text AS execution_id, ordinal, type, source,
    event_id, occurred_at, recorded_at, disposition, reason, log_lines, key, headers, value, emitted,
    sha256
FROM event_log
WHERE recorded_at >= $1 AND recorded_at < $2
ORDER BY topic, partition, "offset"
