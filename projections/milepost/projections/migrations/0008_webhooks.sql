-- Webhooks: endpoints of tenants, what is sent to them, and how each attempt went
-- depends: 0007_resource_circumstances

-- migrate: apply

CREATE TABLE webhook_endpoints (
    tenant text COLLATE "C" NOT NULL,
    endpoint_id uuid NOT NULL,
    url text COLLATE "C" NOT NULL,
    description text,
    -- Which completions it wants: some of the terminal states; operations null for all.
    states text[] NOT NULL,
    operations text[],
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    -- Null while it is enabled. Why it is not: 'asked', 'gone' (it answered 410) or 'failing'.
    disabled_at timestamptz,
    disabled_reason text,
    -- Since when nothing sent to it has arrived; null once something has.
    failing_since timestamptz,
    PRIMARY KEY (tenant, endpoint_id)
);

-- The signing secrets of an endpoint: the newest, and those it replaced until they expire. `sealed` is
-- ciphertext; the key is in the settings of the services.
CREATE TABLE webhook_secrets (
    tenant text COLLATE "C" NOT NULL,
    endpoint_id uuid NOT NULL,
    secret_id uuid NOT NULL,
    sealed bytea NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz,
    PRIMARY KEY (tenant, endpoint_id, secret_id),
    FOREIGN KEY (tenant, endpoint_id) REFERENCES webhook_endpoints ON DELETE CASCADE
);

-- What is sent, once however many endpoints want it. `message_id` is the `webhook-id`: the id of the
-- completion, or 'test_...' or 'notice_...'.
CREATE TABLE webhook_messages (
    tenant text COLLATE "C" NOT NULL,
    message_id text COLLATE "C" NOT NULL,
    type text COLLATE "C" NOT NULL,
    execution_id uuid,
    payload bytea NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (tenant, message_id)
);
CREATE INDEX webhook_messages_by_time ON webhook_messages (tenant, created_at);
CREATE INDEX webhook_messages_by_execution ON webhook_messages (tenant, execution_id);

-- One message for one endpoint. History outlives endpoints: no foreign key to them.
CREATE TABLE webhook_deliveries (
    tenant text COLLATE "C" NOT NULL,
    delivery_id uuid NOT NULL,
    endpoint_id uuid NOT NULL,
    message_id text COLLATE "C" NOT NULL,
    created_at timestamptz NOT NULL,
    -- 'pending' until it is 'delivered', 'failed' (the schedule is over) or 'cancelled' (the endpoint
    -- was disabled or deleted).
    status text COLLATE "C" NOT NULL,
    -- Attempts since it was created or last redelivered: the place in the schedule.
    attempts integer NOT NULL DEFAULT 0,
    -- When the next attempt is due; while one is under way, when it is taken for lost.
    due_at timestamptz,
    ended_at timestamptz,
    PRIMARY KEY (tenant, delivery_id),
    -- In this order it also leads from a message to its deliveries.
    UNIQUE (tenant, message_id, endpoint_id),
    FOREIGN KEY (tenant, message_id) REFERENCES webhook_messages
);
-- What an endpoint is owed, in order; and when anything is due next.
CREATE INDEX webhook_deliveries_due
ON webhook_deliveries (tenant, endpoint_id, due_at) WHERE status = 'pending';
CREATE INDEX webhook_deliveries_next ON webhook_deliveries (due_at) WHERE status = 'pending';
CREATE INDEX webhook_deliveries_by_time ON webhook_deliveries (tenant, created_at, delivery_id);
CREATE INDEX webhook_deliveries_by_endpoint
ON webhook_deliveries (tenant, endpoint_id, created_at, delivery_id);
-- What did not arrive, or not yet: few among many.
CREATE INDEX webhook_deliveries_undelivered
ON webhook_deliveries (tenant, created_at, delivery_id) WHERE status <> 'delivered';

-- Every attempt, for ever. `status_code` null: no answer, `error` says why. `answer` is the beginning of
-- the body that came back.
CREATE TABLE webhook_attempts (
    tenant text COLLATE "C" NOT NULL,
    delivery_id uuid NOT NULL,
    attempted_at timestamptz NOT NULL,
    duration_seconds double precision NOT NULL,
    status_code integer,
    error text,
    answer text,
    PRIMARY KEY (tenant, delivery_id, attempted_at),
    FOREIGN KEY (tenant, delivery_id) REFERENCES webhook_deliveries
);

GRANT SELECT ON webhook_endpoints, webhook_secrets, webhook_messages, webhook_deliveries,
    webhook_attempts TO milepost_api;
GRANT INSERT, UPDATE, DELETE ON webhook_endpoints, webhook_secrets TO milepost_api;
GRANT INSERT ON webhook_messages, webhook_deliveries TO milepost_api;
GRANT UPDATE (status, attempts, due_at, ended_at) ON webhook_deliveries TO milepost_api;

ALTER TABLE webhook_endpoints ENABLE ROW LEVEL SECURITY;
ALTER TABLE webhook_secrets ENABLE ROW LEVEL SECURITY;
ALTER TABLE webhook_messages ENABLE ROW LEVEL SECURITY;
ALTER TABLE webhook_deliveries ENABLE ROW LEVEL SECURITY;
ALTER TABLE webhook_attempts ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_tenant ON webhook_endpoints TO milepost_api USING (visible(tenant));
CREATE POLICY own_tenant ON webhook_secrets TO milepost_api USING (visible(tenant));
CREATE POLICY own_tenant ON webhook_messages TO milepost_api USING (visible(tenant));
CREATE POLICY own_tenant ON webhook_deliveries TO milepost_api USING (visible(tenant));
CREATE POLICY own_tenant ON webhook_attempts TO milepost_api USING (visible(tenant));

-- migrate: rollback

DROP TABLE webhook_attempts;
DROP TABLE webhook_deliveries;
DROP TABLE webhook_messages;
DROP TABLE webhook_secrets;
DROP TABLE webhook_endpoints;
