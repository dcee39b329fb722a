-- How executions relate to each other and to their workflows, to be found from either side
-- depends: 0003_access

-- migrate: apply

-- A table of its own and no index on `executions`: that row is written again with every event, and
-- stays heap-only. A link is written once, with the request that brings it, and never changes.
CREATE TABLE execution_links (
    tenant text COLLATE "C" NOT NULL,
    -- An execution id, or for the relation workflow_id what the caller calls its workflow.
    target text COLLATE "C" NOT NULL,
    first_recorded_at timestamptz NOT NULL,
    execution_id uuid NOT NULL,
    relation text COLLATE "C" NOT NULL,
    -- In the order in which an execution's followers are listed.
    PRIMARY KEY (tenant, target, first_recorded_at, execution_id, relation)
);

INSERT INTO execution_links (tenant, target, first_recorded_at, execution_id, relation)
SELECT tenant, link.value, first_recorded_at, execution_id, link.key
FROM executions, json_each_text(body #> '{facts,request,1,links}') AS link;

GRANT SELECT ON execution_links TO milepost_api;
ALTER TABLE execution_links ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_tenant ON execution_links TO milepost_api USING (visible(tenant));

-- migrate: rollback

DROP TABLE execution_links;
