-- Deliveries that nobody sends in time. $1 how late
SELECT count(*) AS deliveries, now() - min(due_at) AS longest
FROM webhook_deliveries
WHERE status = 'pending' AND due_at < now() - $1::interval
