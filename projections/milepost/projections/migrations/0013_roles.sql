-- A role for each service, with the rights that it needs; logins are made members of them
-- depends: 0011_retention 0012_message_traces

-- migrate: apply

DO $$
DECLARE
    role text;
BEGIN
    FOREACH role IN ARRAY ARRAY['milepost_processor', 'milepost_webhooks', 'milepost_readonly'] LOOP
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', role);
        EXCEPTION
            -- Roles belong to the server, which may hold several databases of ours.
            WHEN duplicate_object OR unique_violation THEN NULL;
        END;
    END LOOP;
END
$$;

GRANT USAGE ON SCHEMA public
TO milepost_api, milepost_processor, milepost_webhooks, milepost_readonly;

-- What a rebuild keeps has the rights of its time: going back to it would take these away.
DROP SCHEMA IF EXISTS milepost_next, milepost_previous CASCADE;

-- The API writes no other columns: what an endpoint or a secret is, and whose, stays.
REVOKE UPDATE ON webhook_endpoints, webhook_secrets FROM milepost_api;
GRANT UPDATE (
    url, description, states, operations, updated_at, disabled_at, disabled_reason, failing_since
) ON webhook_endpoints TO milepost_api, milepost_webhooks;
GRANT UPDATE (expires_at) ON webhook_secrets TO milepost_api;

-- The processor serves all tenants. It writes with COPY, which Postgres lets nobody do whom row-level
-- security applies to: its login has BYPASSRLS.
GRANT SELECT, INSERT, UPDATE ON executions, resources, tenant_activity, positions, projection_state
TO milepost_processor;
GRANT SELECT, INSERT ON event_log, execution_links TO milepost_processor;
-- Whether records lie outside the months is seen in the default partition itself.
GRANT SELECT ON event_log_default, archived_months, archived_offsets TO milepost_processor;

GRANT SELECT ON webhook_endpoints, webhook_secrets, webhook_messages, webhook_deliveries,
    webhook_attempts TO milepost_webhooks;
GRANT INSERT ON webhook_messages, webhook_deliveries, webhook_attempts TO milepost_webhooks;
GRANT UPDATE (status, attempts, due_at, ended_at) ON webhook_deliveries TO milepost_webhooks;
CREATE POLICY all_tenants ON webhook_endpoints TO milepost_webhooks USING (true);
CREATE POLICY all_tenants ON webhook_secrets TO milepost_webhooks USING (true);
CREATE POLICY all_tenants ON webhook_messages TO milepost_webhooks USING (true);
CREATE POLICY all_tenants ON webhook_deliveries TO milepost_webhooks USING (true);
CREATE POLICY all_tenants ON webhook_attempts TO milepost_webhooks USING (true);

-- For people and dashboards: everything but secrets, sealed or hashed.
GRANT SELECT ON executions, execution_links, resources, tenant_activity, event_log, positions,
    projection_state, requests, webhook_endpoints, webhook_messages, webhook_deliveries,
    webhook_attempts, audit, archived_months, archived_offsets, legal_holds,
    _pogo_migration TO milepost_readonly;
GRANT SELECT (
    key_id, name, grants, providers, created_at, created_by, expires_at, revoked_at, revoked_by,
    last_used_at
) ON api_keys TO milepost_readonly;
CREATE POLICY read_all ON executions FOR SELECT TO milepost_readonly USING (true);
CREATE POLICY read_all ON execution_links FOR SELECT TO milepost_readonly USING (true);
CREATE POLICY read_all ON resources FOR SELECT TO milepost_readonly USING (true);
CREATE POLICY read_all ON tenant_activity FOR SELECT TO milepost_readonly USING (true);
CREATE POLICY read_all ON event_log FOR SELECT TO milepost_readonly USING (true);
CREATE POLICY read_all ON requests FOR SELECT TO milepost_readonly USING (true);
CREATE POLICY read_all ON webhook_endpoints FOR SELECT TO milepost_readonly USING (true);
CREATE POLICY read_all ON webhook_messages FOR SELECT TO milepost_readonly USING (true);
CREATE POLICY read_all ON webhook_deliveries FOR SELECT TO milepost_readonly USING (true);
CREATE POLICY read_all ON webhook_attempts FOR SELECT TO milepost_readonly USING (true);
CREATE POLICY read_all ON audit FOR SELECT TO milepost_readonly USING (true);
CREATE POLICY read_all ON api_keys FOR SELECT TO milepost_readonly USING (true);

-- migrate: rollback

-- loses: nothing
DROP POLICY read_all ON executions;
DROP POLICY read_all ON execution_links;
DROP POLICY read_all ON resources;
DROP POLICY read_all ON tenant_activity;
DROP POLICY read_all ON event_log;
DROP POLICY read_all ON requests;
DROP POLICY read_all ON webhook_endpoints;
DROP POLICY read_all ON webhook_messages;
DROP POLICY read_all ON webhook_deliveries;
DROP POLICY read_all ON webhook_attempts;
DROP POLICY read_all ON audit;
DROP POLICY read_all ON api_keys;
DROP POLICY all_tenants ON webhook_endpoints;
DROP POLICY all_tenants ON webhook_secrets;
DROP POLICY all_tenants ON webhook_messages;
DROP POLICY all_tenants ON webhook_deliveries;
DROP POLICY all_tenants ON webhook_attempts;
REVOKE UPDATE (
    url, description, states, operations, updated_at, disabled_at, disabled_reason, failing_since
) ON webhook_endpoints FROM milepost_api, milepost_webhooks;
REVOKE UPDATE (expires_at) ON webhook_secrets FROM milepost_api;
GRANT UPDATE ON webhook_endpoints, webhook_secrets TO milepost_api;
-- Revoked and not DROP OWNED, which is for those that are members of them only.
REVOKE ALL ON ALL TABLES IN SCHEMA public FROM milepost_processor, milepost_webhooks, milepost_readonly;
REVOKE ALL (
    key_id, name, grants, providers, created_at, created_by, expires_at, revoked_at, revoked_by,
    last_used_at
) ON api_keys FROM milepost_readonly;
REVOKE ALL (status, attempts, due_at, ended_at) ON webhook_deliveries FROM milepost_webhooks;
REVOKE USAGE ON SCHEMA public FROM milepost_processor, milepost_webhooks, milepost_readonly;
