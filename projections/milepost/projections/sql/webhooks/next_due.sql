-- Seconds until the next delivery is due or taken for lost; null where none is.
SELECT extract(EPOCH FROM min(due_at) - now())::double precision
FROM webhook_deliveries
WHERE status = 'pending' AND due_at > now()
