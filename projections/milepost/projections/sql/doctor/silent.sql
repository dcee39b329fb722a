-- Tenants with silent executions: how many, and the one that has been for the longest.
-- $1 heartbeats by provider
SELECT
    held.tenant,
    count(*) AS executions,
    now() - min(silence.silent_since) AS longest,
    (array_agg(held.execution_id ORDER BY silence.silent_since))[1] AS execution_id
FROM executions AS held
CROSS JOIN LATERAL silence(
    held.ended_at, held.first_recorded_at, held.recorded_at, held.provider, held.body,
    $1::json, now()
) AS silence
-- The few of an index, however many are over.
WHERE held.ended_at IS NULL AND silence.silent_since IS NOT NULL
GROUP BY held.tenant
ORDER BY longest DESC
LIMIT 5
