-- Records that were no events; what Postgres refused to store were events and are left out.
SELECT topic, partition, "offset", recorded_at, key, headers, value
FROM event_log
WHERE execution_id IS NULL AND NOT starts_with(reason, 'unstorable: ')
