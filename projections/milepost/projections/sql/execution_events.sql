-- Every raw record of an execution and what the fold did with it, one page.
-- $1 execution id, $2 tenant, $3 ordinal of the last one seen, $4 rows
SELECT
    ordinal, topic, partition, "offset", type, source, event_id, disposition, reason, occurred_at,
    recorded_at
FROM event_log
WHERE execution_id = $1 AND tenant = $2 AND ordinal > $3
ORDER BY ordinal
LIMIT $4
