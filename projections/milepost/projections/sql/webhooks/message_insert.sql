-- Messages in the order of their keys; one that is known stays as it is.
INSERT INTO webhook_messages (tenant, message_id, type, execution_id, payload, traceparent, created_at)
SELECT tenant, message_id, type, execution_id, payload, traceparent, now()
FROM unnest($1::text[], $2::text[], $3::text[], $4::uuid[], $5::bytea[], $6::text[])
AS new (tenant, message_id, type, execution_id, payload, traceparent)
ORDER BY tenant, message_id
ON CONFLICT DO NOTHING
