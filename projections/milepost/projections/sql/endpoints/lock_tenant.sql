-- Let nobody else add endpoints of a tenant until the transaction ends, so that counting them is exact.
-- $1 tenant
SELECT pg_advisory_xact_lock(hashtextextended('webhook_endpoints ' || $1, 0))
