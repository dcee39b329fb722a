-- Webhooks go on with the trace of the event that ended an execution
-- depends: 0009_api_keys

-- migrate: apply

-- As W3C Trace Context writes it; null where the event had none.
ALTER TABLE webhook_messages ADD COLUMN traceparent text COLLATE "C";

-- migrate: rollback

-- loses: webhook_messages.traceparent
ALTER TABLE webhook_messages DROP COLUMN traceparent;
