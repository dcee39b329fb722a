-- Generations of the projection tables: which one is live, and what the one before it said
-- depends: 0003_access

-- migrate: apply

-- One row for each switch; the live generation is the highest.
CREATE TABLE projection_state (
    generation bigint PRIMARY KEY,
    -- The version of the fold (milepost.projections.execution.FOLD_VERSION) that made it.
    fold_version integer NOT NULL,
    switched_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO projection_state (generation, fold_version) VALUES (0, 1);

-- The offset from which on the generation before the live one does not know the log.
ALTER TABLE positions ADD COLUMN switched_offset bigint NOT NULL DEFAULT 0;

-- What event_log is to say of a record when this generation is switched to, where it says otherwise.
CREATE TABLE disposition_changes (
    generation bigint NOT NULL,
    topic text COLLATE "C" NOT NULL,
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    recorded_at timestamptz NOT NULL,
    disposition text COLLATE "C" NOT NULL,
    reason text COLLATE "C",
    PRIMARY KEY (generation, topic, partition, "offset", recorded_at)
);

-- migrate: rollback

DROP SCHEMA IF EXISTS milepost_next, milepost_previous CASCADE;
DROP TABLE disposition_changes, projection_state;
ALTER TABLE positions DROP COLUMN switched_offset;
