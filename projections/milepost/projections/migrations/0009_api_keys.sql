-- API keys, the audit, and row-level security for callers of several tenants
-- depends: 0008_webhooks

-- migrate: apply

-- `grants` are 'tenant:role'; the tenant '*' stands for all. The secret is random and long: its hash
-- needs no salt.
CREATE TABLE api_keys (
    key_id text COLLATE "C" PRIMARY KEY,
    name text NOT NULL,
    secret_sha256 bytea NOT NULL,
    grants text[] COLLATE "C" NOT NULL,
    -- Only events of these providers; null for any.
    providers text[] COLLATE "C",
    created_at timestamptz NOT NULL,
    created_by text NOT NULL,
    expires_at timestamptz,
    revoked_at timestamptz,
    revoked_by text,
    last_used_at timestamptz
);
CREATE INDEX api_keys_by_time ON api_keys (created_at, key_id);

-- Every write through the API, and refused ones. `tenant` is null where it is nobody's or must not be
-- told to the tenant that was asked for. `left_out`: refusals before this one that have no row.
CREATE TABLE audit (
    at timestamptz NOT NULL,
    audit_id uuid NOT NULL,
    tenant text COLLATE "C",
    principal text NOT NULL,
    action text COLLATE "C" NOT NULL,
    target text NOT NULL,
    status integer NOT NULL,
    address text NOT NULL,
    request_id text COLLATE "C" NOT NULL,
    left_out bigint NOT NULL,
    PRIMARY KEY (at, audit_id)
);
CREATE INDEX audit_by_tenant ON audit (tenant, at, audit_id);

-- `milepost.tenant` may now name several tenants, with commas: no tenant has one in its name.
CREATE OR REPLACE FUNCTION visible(tenant text) RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE
RETURN tenant = current_setting('milepost.tenant', true)
    OR current_setting('milepost.tenant', true) = '*'
    OR tenant = ANY (string_to_array(current_setting('milepost.tenant', true), ','));

CREATE FUNCTION tenants_of(grants text[]) RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (SELECT array_agg(split_part(one, ':', 1)) FROM unnest(grants) AS one);

-- A key is seen by who sees all its tenants.
CREATE FUNCTION all_visible(tenants text[]) RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE
RETURN current_setting('milepost.tenant', true) = '*'
    OR tenants <@ string_to_array(current_setting('milepost.tenant', true), ',');

GRANT SELECT, INSERT ON api_keys, audit TO milepost_api;
GRANT UPDATE (revoked_at, revoked_by, last_used_at) ON api_keys TO milepost_api;
ALTER TABLE api_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE audit ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_tenants ON api_keys TO milepost_api USING (all_visible(tenants_of(grants)));
-- What is no tenant's, only who sees all tenants sees.
CREATE POLICY own_tenant ON audit TO milepost_api USING (visible(coalesce(tenant, '*')));

-- migrate: rollback

DROP TABLE audit;
DROP TABLE api_keys;
DROP FUNCTION all_visible(text[]);
DROP FUNCTION tenants_of(text[]);
CREATE OR REPLACE FUNCTION visible(tenant text) RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE
RETURN tenant = current_setting('milepost.tenant', true)
    OR current_setting('milepost.tenant', true) = '*';
