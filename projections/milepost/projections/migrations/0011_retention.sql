-- Months of the log that are kept in files, and tenants whose history must stay where it is
-- depends: 0009_api_keys

-- migrate: apply

-- One row for each month of event_log that was written to a file, verified, and detached; made in the
-- transaction that detaches it. `sha256` is the file's.
CREATE TABLE archived_months (
    month date PRIMARY KEY,
    file text NOT NULL,
    sha256 bytea NOT NULL,
    records bigint NOT NULL,
    first_recorded_at timestamptz,
    last_recorded_at timestamptz,
    archived_at timestamptz NOT NULL DEFAULT now()
);

-- What such a month had of each partition: from the first offset to the last one.
CREATE TABLE archived_offsets (
    month date NOT NULL REFERENCES archived_months,
    topic text COLLATE "C" NOT NULL,
    partition integer NOT NULL,
    first_offset bigint NOT NULL,
    last_offset bigint NOT NULL,
    records bigint NOT NULL,
    PRIMARY KEY (topic, partition, month)
);

-- Holds are never deleted. A tenant may have several, told apart by their reasons.
CREATE TABLE legal_holds (
    tenant text COLLATE "C" NOT NULL,
    reason text NOT NULL,
    placed_at timestamptz NOT NULL,
    placed_by text NOT NULL,
    released_at timestamptz,
    released_by text,
    PRIMARY KEY (tenant, reason, placed_at)
);
CREATE UNIQUE INDEX legal_holds_in_force ON legal_holds (tenant, reason) WHERE released_at IS NULL;

-- No tenant's; holds are the operators' alone.
GRANT SELECT ON archived_months, archived_offsets TO milepost_api;

-- migrate: rollback

-- loses: archived_months archived_offsets legal_holds
DROP TABLE legal_holds, archived_offsets, archived_months;
