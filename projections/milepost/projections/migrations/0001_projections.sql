-- The log of raw records and what is folded from it
-- depends:

-- migrate: apply

CREATE TABLE executions (
    tenant text COLLATE "C" NOT NULL,
    execution_id uuid NOT NULL,
    state text COLLATE "C" NOT NULL,
    version bigint NOT NULL,
    ordinal bigint NOT NULL,
    operation text COLLATE "C",
    provider text COLLATE "C",
    labels json,
    first_recorded_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL,
    ended_at timestamptz,
    -- The fold's whole state; json and not jsonb, so that the same fold gives the same bytes.
    body json NOT NULL,
    PRIMARY KEY (execution_id, tenant)
) WITH (fillfactor = 85);

-- Only columns that never change: updates stay heap-only.
CREATE INDEX executions_by_tenant ON executions (tenant, first_recorded_at, execution_id);

CREATE TABLE event_log (
    topic text COLLATE "C" NOT NULL,
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    recorded_at timestamptz NOT NULL,
    tenant text COLLATE "C",
    execution_id uuid,
    ordinal bigint,
    type text COLLATE "C",
    source text COLLATE "C",
    event_id text COLLATE "C",
    occurred_at timestamptz,
    disposition text COLLATE "C" NOT NULL,
    reason text COLLATE "C",
    log_lines integer NOT NULL,
    key bytea,
    -- JSON [[name, value as Latin-1 or null], ...]: any bytes survive, in order.
    headers bytea NOT NULL,
    value bytea,
    -- What the fold sends out for this record: (topic, key, headers, value) in groups of four.
    emitted bytea[],
    sha256 bytea NOT NULL GENERATED ALWAYS AS (
        sha256(
            int4send(coalesce(length(key), -1)) || coalesce(key, '\x')
            || int4send(length(headers)) || headers
            || int4send(coalesce(length(value), -1)) || coalesce(value, '\x')
        )
    ) STORED,
    PRIMARY KEY (topic, partition, "offset", recorded_at)
) PARTITION BY RANGE (recorded_at);

CREATE INDEX event_log_by_execution ON event_log (execution_id, ordinal);
CREATE INDEX event_log_by_time ON event_log USING brin (recorded_at);
CREATE TABLE event_log_default PARTITION OF event_log DEFAULT;

CREATE TABLE resources (
    tenant text COLLATE "C" NOT NULL,
    provider text COLLATE "C" NOT NULL,
    region text COLLATE "C" NOT NULL,
    kind text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    execution_id uuid NOT NULL,
    status text COLLATE "C",
    released boolean NOT NULL,
    attributes json,
    occurred_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL,
    PRIMARY KEY (tenant, provider, region, kind, id, execution_id)
) WITH (fillfactor = 85);

CREATE INDEX resources_by_id ON resources (kind, id);

CREATE TABLE tenant_activity (
    tenant text COLLATE "C" NOT NULL,
    topic text COLLATE "C" NOT NULL,
    partition integer NOT NULL,
    pending bigint NOT NULL,
    running bigint NOT NULL,
    succeeded bigint NOT NULL,
    failed bigint NOT NULL,
    cancelled bigint NOT NULL,
    last_success_at timestamptz,
    last_success uuid,
    last_failure_at timestamptz,
    last_failure uuid,
    PRIMARY KEY (tenant, topic, partition)
) WITH (fillfactor = 70);

CREATE TABLE positions (
    topic text COLLATE "C" NOT NULL,
    partition integer NOT NULL,
    epoch bigint NOT NULL DEFAULT 0,
    generation bigint NOT NULL DEFAULT 0,
    next_offset bigint NOT NULL DEFAULT 0,
    relayed bigint,
    recorded_at timestamptz,
    end_offset bigint,
    end_offset_at timestamptz,
    -- Why the partition is not being folded, with the remedy; null while it is.
    problem text,
    PRIMARY KEY (topic, partition)
) WITH (fillfactor = 50);

-- migrate: rollback

DROP TABLE positions, tenant_activity, resources, event_log, executions;
