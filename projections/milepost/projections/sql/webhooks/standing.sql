-- What is owed to all endpoints together, and how many of those are disabled, by reason
SELECT
    (SELECT count(*) FROM webhook_deliveries WHERE status = 'pending') AS pending,
    (
        SELECT coalesce(extract(epoch FROM greatest(now() - min(due_at), '0')), 0)::float8
        FROM webhook_deliveries
        WHERE status = 'pending'
    ) AS overdue_seconds,
    ARRAY(
        SELECT (disabled_reason, count(*))
        FROM webhook_endpoints
        WHERE disabled_at IS NOT NULL
        GROUP BY disabled_reason
    ) AS disabled
