-- A tenant's enabled endpoints. Until this transaction ends, nobody disables or deletes one of them.
-- Two transactions that each disable one can wait for each other: Postgres ends one, which tries again.
-- $1 tenant
SELECT endpoint_id
FROM webhook_endpoints
WHERE tenant = $1 AND disabled_at IS NULL
ORDER BY endpoint_id
FOR SHARE
