-- What was written and refused, the newest first, one page.
-- $1 at and $2 id of the last one seen, $3 rows, $4 tenant
SELECT
    at, audit_id, tenant, principal, action, target, status, address, request_id, left_out
FROM audit
WHERE tenant = $4 AND (at, audit_id) < ($1::timestamptz, $2::uuid)
ORDER BY at DESC, audit_id DESC
LIMIT $3
