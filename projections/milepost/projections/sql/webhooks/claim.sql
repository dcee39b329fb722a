-- Take deliveries that are due, until $7 from now; those that another worker is taking are left alone.
-- Each endpoint gets as many calls as it has room for, one that does not answer a single one, and so
-- does each tenant. The first call of each tenant comes before the second of any, and likewise the
-- endpoints of one tenant: a slow endpoint delays no other, nor do many of one tenant's.
-- $1 tenants, $2 endpoints and $3 how many calls each has under way
-- $4 calls an endpoint, $5 a tenant, $6 in all
WITH RECURSIVE waiting AS (
    -- From one endpoint that is owed something to the next: a look at the index each.
    (
        SELECT tenant, endpoint_id
        FROM webhook_deliveries
        WHERE status = 'pending'
        ORDER BY tenant, endpoint_id
        LIMIT 1
    )
    UNION ALL
    SELECT following.tenant, following.endpoint_id
    FROM waiting
    CROSS JOIN LATERAL (
        SELECT tenant, endpoint_id
        FROM webhook_deliveries
        WHERE status = 'pending'
            AND (tenant, endpoint_id) > (waiting.tenant, waiting.endpoint_id)
        ORDER BY tenant, endpoint_id
        LIMIT 1
    ) AS following
),

due AS (
    SELECT
        endpoint.tenant,
        endpoint.url,
        delivery.delivery_id,
        delivery.due_at,
        coalesce(busy.calls, 0) + row_number() OVER (
            PARTITION BY endpoint.tenant, endpoint.endpoint_id ORDER BY delivery.due_at
        ) AS turn
    FROM waiting
    JOIN webhook_endpoints AS endpoint USING (tenant, endpoint_id)
    LEFT JOIN unnest($1::text[], $2::uuid[], $3::integer[]) AS busy (tenant, endpoint_id, calls)
        USING (tenant, endpoint_id)
    CROSS JOIN LATERAL (
        SELECT delivery_id, due_at
        FROM webhook_deliveries
        WHERE tenant = endpoint.tenant
            AND endpoint_id = endpoint.endpoint_id
            AND status = 'pending'
            AND due_at <= now()
        ORDER BY due_at
        LIMIT greatest(
            0,
            CASE WHEN endpoint.failing_since IS NULL THEN $4::integer ELSE 1 END
            - coalesce(busy.calls, 0)
        )
        FOR UPDATE SKIP LOCKED
    ) AS delivery
    WHERE endpoint.disabled_at IS NULL
),

ranked AS (
    SELECT
        tenant,
        url,
        delivery_id,
        due_at,
        row_number() OVER (PARTITION BY tenant ORDER BY turn, due_at) + coalesce((
            SELECT sum(busy.calls)
            FROM unnest($1::text[], $3::integer[]) AS busy (tenant, calls)
            WHERE busy.tenant = due.tenant
        ), 0) AS place
    FROM due
),

taken AS (
    SELECT tenant, url, delivery_id FROM ranked WHERE place <= $5 ORDER BY place, due_at LIMIT $6
),

claimed AS (
    UPDATE webhook_deliveries AS delivery
    SET due_at = now() + $7::interval
    FROM taken
    WHERE delivery.tenant = taken.tenant AND delivery.delivery_id = taken.delivery_id
    RETURNING delivery.*, taken.url
)

SELECT
    tenant,
    claimed.delivery_id,
    claimed.endpoint_id,
    message_id,
    claimed.url,
    message.payload,
    claimed.attempts,
    claimed.due_at AS held_until,
    ARRAY(
        SELECT secret.sealed
        FROM webhook_secrets AS secret
        WHERE secret.tenant = claimed.tenant
            AND secret.endpoint_id = claimed.endpoint_id
            AND (secret.expires_at IS NULL OR secret.expires_at > now())
        ORDER BY secret.created_at DESC
    ) AS sealed,
    message.traceparent
FROM claimed
JOIN webhook_messages AS message USING (tenant, message_id)
