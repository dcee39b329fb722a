-- Everything that can be wrong in the database. :events topic of the events; it has partitions 0 and 1, and
-- three records in partition 1.

-- Beyond the end; another record than the one that was folded; a partition that there is not.
INSERT INTO positions (topic, partition, next_offset, relayed) VALUES
(:events, 0, 99, NULL), (:events, 1, 1, 0), (:events, 5, 0, 0);

-- Accepted an hour ago and not published; published ten minutes ago, and recorded fifty minutes before.
INSERT INTO requests
(tenant, execution_id, fingerprint, event_id, headers, value, created_at, published_at) VALUES
('acme', gen_random_uuid(), '', 'waiting', '', '', now() - INTERVAL '1 hour', NULL),
('acme', '00000000-0000-0000-0000-000000000001', '', 'sent', '', '',
 now() - INTERVAL '10 minutes', now() - INTERVAL '10 minutes');

-- No partition for this month nor for the next; a record of 2020, one not relayed, and one put aside.
DO $$
BEGIN
    EXECUTE 'DROP TABLE ' || to_char(now() AT TIME ZONE 'UTC', '"event_log_"YYYY_MM');
    EXECUTE 'DROP TABLE ' || to_char(
        date_trunc('month', now() AT TIME ZONE 'UTC') + INTERVAL '1 month', '"event_log_"YYYY_MM'
    );
END
$$;
INSERT INTO event_log
(topic, partition, "offset", recorded_at, tenant, execution_id, event_id, disposition, reason,
 log_lines, headers, emitted) VALUES
(:events, 7, 0, '2020-02-03', 'acme', gen_random_uuid(), 'old', 'applied', NULL, 0, '', NULL),
(:events, 1, 0, now() - INTERVAL '1 hour', 'acme', '00000000-0000-0000-0000-000000000001', 'sent',
 'applied', NULL, 0, '', ARRAY[''::bytea]),
(:events, 7, 1, now(), NULL, NULL, NULL, 'quarantined', 'not_json: at byte 0', 0, '', NULL);

INSERT INTO executions
(tenant, execution_id, state, version, ordinal, first_recorded_at, recorded_at, body) VALUES
('globex', '00000000-0000-0000-0000-000000000002', 'running', 1, 1,
 now() - INTERVAL '2 days', now() - INTERVAL '2 days', '{}');

INSERT INTO webhook_messages (tenant, message_id, type, payload, created_at)
VALUES ('acme', 'one', '', '', now());
INSERT INTO webhook_deliveries
(tenant, delivery_id, endpoint_id, message_id, created_at, status, due_at) VALUES
('acme', gen_random_uuid(), gen_random_uuid(), 'one', now(), 'pending', now() - INTERVAL '1 hour');
INSERT INTO webhook_endpoints
(tenant, endpoint_id, url, states, created_at, updated_at, disabled_at, disabled_reason, failing_since)
VALUES
('acme', '00000000-0000-0000-0000-000000000003', '', '{}', now(), now(), now(), 'gone', NULL),
('acme', '00000000-0000-0000-0000-000000000004', '', '{}', now(), now(), NULL, NULL,
 now() - INTERVAL '1 day'),
('acme', '00000000-0000-0000-0000-000000000005', '', '{}', now(), now(), now(), 'asked', NULL);

DELETE FROM _pogo_migration WHERE migration_id = '0009_api_keys';
INSERT INTO _pogo_migration (migration_hash, migration_id, applied, schema_name)
VALUES ('', '9999_newer', now(), 'public');
CREATE SCHEMA milepost_next;
UPDATE projection_state SET fold_version = 1000;
