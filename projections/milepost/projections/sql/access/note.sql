-- One that is there already stays as it is.
-- $1 at, $2 id, $3 tenant or null, $4 principal, $5 action, $6 target, $7 status, $8 address,
-- $9 request id, $10 refusals left out before
INSERT INTO audit (
    at, audit_id, tenant, principal, action, target, status, address, request_id, left_out
)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
ON CONFLICT DO NOTHING
