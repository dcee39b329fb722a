-- What a resource's row must know of its execution, so that looking for resources reads them alone
-- depends: 0006_silence

-- migrate: apply

ALTER TABLE resources
    -- The provider that the report names, else the execution's.
    ADD COLUMN effective_provider text COLLATE "C",
    -- How the execution ended, where it did not succeed: failed or cancelled.
    ADD COLUMN left_by text COLLATE "C";

UPDATE resources AS held
SET effective_provider = coalesce(nullif(held.provider, ''), execution.provider),
    left_by = CASE WHEN execution.state IN ('failed', 'cancelled') THEN execution.state END
FROM executions AS execution
WHERE execution.execution_id = held.execution_id AND execution.tenant = held.tenant;

CREATE INDEX resources_left ON resources (tenant, provider, region, kind, id, execution_id)
WHERE left_by IS NOT NULL AND NOT released;

-- migrate: rollback

ALTER TABLE resources DROP COLUMN effective_provider, DROP COLUMN left_by;
