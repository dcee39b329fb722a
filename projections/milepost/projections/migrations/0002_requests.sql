-- The ledger of requests that the API accepted
-- depends: 0001_projections

-- migrate: apply

CREATE TABLE requests (
    tenant text COLLATE "C" NOT NULL,
    execution_id uuid NOT NULL,
    fingerprint text COLLATE "C" NOT NULL,
    -- The event as it was or will be published; the same event id on every attempt.
    event_id text COLLATE "C" NOT NULL,
    headers bytea NOT NULL,
    value bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    published_at timestamptz,
    PRIMARY KEY (execution_id, tenant)
);

CREATE INDEX requests_unpublished ON requests (created_at) WHERE published_at IS NULL;

-- migrate: rollback

DROP TABLE requests;
