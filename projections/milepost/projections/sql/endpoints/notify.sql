-- Something of this tenant's is due: told when the transaction commits.
-- $1 tenant
SELECT pg_notify('milepost_webhooks', $1)
