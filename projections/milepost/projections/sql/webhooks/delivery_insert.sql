-- Deliveries that are due at once, and news of them for every worker; repeats change nothing.
WITH added AS (
    INSERT INTO webhook_deliveries (
        tenant, delivery_id, endpoint_id, message_id, created_at, status, due_at
    )
    SELECT tenant, gen_random_uuid(), endpoint_id, message_id, now(), 'pending', now()
    FROM unnest($1::text[], $2::uuid[], $3::text[]) AS new (tenant, endpoint_id, message_id)
    ORDER BY tenant, message_id, endpoint_id
    ON CONFLICT (tenant, message_id, endpoint_id) DO NOTHING
    RETURNING tenant
),

told AS (
    SELECT count(*) AS deliveries, pg_notify('milepost_webhooks', tenant) FROM added GROUP BY tenant
)

SELECT coalesce(sum(deliveries), 0)::bigint FROM told
