-- Deliveries to one endpoint that ended in one of these ways, created in a time, the oldest first.
-- $1 tenant, $2 endpoint id, $3 statuses, $4 since, $5 before, $6 rows
SELECT delivery_id
FROM webhook_deliveries
WHERE
    tenant = $1
    AND endpoint_id = $2
    AND status = any($3::text [])
    AND created_at >= $4
    AND created_at < $5
ORDER BY created_at, delivery_id
LIMIT $6
