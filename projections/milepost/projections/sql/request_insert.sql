-- Note a request before it is published; no row comes back where the execution has one already.
-- $1 tenant, $2 execution id, $3 fingerprint, $4 event id, $5 headers, $6 value
INSERT INTO requests (tenant, execution_id, fingerprint, event_id, headers, value)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (execution_id, tenant) DO NOTHING
RETURNING created_at
