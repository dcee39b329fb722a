-- The role of the API: owns nothing, sees the tenant of the request
-- depends: 0002_requests

-- migrate: apply

DO $$
BEGIN
    CREATE ROLE milepost_api NOLOGIN;
EXCEPTION
    -- Roles belong to the server, which may hold several databases of ours.
    WHEN duplicate_object OR unique_violation THEN NULL;
END
$$;

GRANT milepost_api TO CURRENT_USER;
GRANT SELECT ON executions, event_log, resources, tenant_activity, positions, requests TO milepost_api;
GRANT INSERT ON requests TO milepost_api;
GRANT UPDATE (published_at) ON requests TO milepost_api;

-- '*' stands for all tenants; nothing set means none.
CREATE FUNCTION visible(tenant text) RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE
RETURN tenant = current_setting('milepost.tenant', true)
    OR current_setting('milepost.tenant', true) = '*';

ALTER TABLE executions ENABLE ROW LEVEL SECURITY;
ALTER TABLE event_log ENABLE ROW LEVEL SECURITY;
ALTER TABLE resources ENABLE ROW LEVEL SECURITY;
ALTER TABLE tenant_activity ENABLE ROW LEVEL SECURITY;
ALTER TABLE requests ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_tenant ON executions TO milepost_api USING (visible(tenant));
CREATE POLICY own_tenant ON event_log TO milepost_api USING (visible(tenant));
CREATE POLICY own_tenant ON resources TO milepost_api USING (visible(tenant));
CREATE POLICY own_tenant ON tenant_activity TO milepost_api USING (visible(tenant));
CREATE POLICY own_tenant ON requests TO milepost_api USING (visible(tenant));

-- migrate: rollback

DROP POLICY own_tenant ON executions;
DROP POLICY own_tenant ON event_log;
DROP POLICY own_tenant ON resources;
DROP POLICY own_tenant ON tenant_activity;
DROP POLICY own_tenant ON requests;
ALTER TABLE executions DISABLE ROW LEVEL SECURITY;
ALTER TABLE event_log DISABLE ROW LEVEL SECURITY;
ALTER TABLE resources DISABLE ROW LEVEL SECURITY;
ALTER TABLE tenant_activity DISABLE ROW LEVEL SECURITY;
ALTER TABLE requests DISABLE ROW LEVEL SECURITY;
DROP FUNCTION visible(text);
-- DROP OWNED takes back what was granted in this database; other databases may still use the role.
DROP OWNED BY milepost_api;
