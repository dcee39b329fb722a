-- $1 tenant, $2 endpoint id, $3 url, $4 description, $5 states, $6 operations, $7 when it was changed,
-- $8 disabled at, $9 why, $10 failing since
UPDATE webhook_endpoints
SET
    url = $3,
    description = $4,
    states = $5,
    operations = $6,
    updated_at = $7,
    disabled_at = $8,
    disabled_reason = $9,
    failing_since = $10
WHERE tenant = $1 AND endpoint_id = $2
