-- The executions that records belong to from noted positions on, up to where the fold is now.
-- $1 topics, $2 partitions, $3 next offsets; a position that was not noted began at 0
SELECT DISTINCT log.execution_id::text AS id, log.tenant
FROM positions
LEFT JOIN unnest($1::text[], $2::integer[], $3::bigint[]) AS noted (topic, partition, next_offset)
    USING (topic, partition)
JOIN event_log AS log USING (topic, partition)
WHERE
    log."offset" >= coalesce(noted.next_offset, 0)
    AND log."offset" < positions.next_offset
    AND log.execution_id IS NOT NULL
