-- Deliveries that were taken and are not being sent after all are due at once, for any worker.
WITH released AS (
    UPDATE webhook_deliveries AS delivery
    SET due_at = now()
    FROM unnest($1::text[], $2::uuid[], $3::timestamptz[]) AS held (tenant, delivery_id, due_at)
    WHERE delivery.tenant = held.tenant
        AND delivery.delivery_id = held.delivery_id
        AND delivery.status = 'pending'
        AND delivery.due_at = held.due_at
    RETURNING delivery.tenant
)

SELECT pg_notify('milepost_webhooks', tenant) FROM released GROUP BY tenant
