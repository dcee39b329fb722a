-- The tenants under legal hold that have records from $1 up to, without, $2.
SELECT tenant
FROM (SELECT DISTINCT tenant FROM legal_holds WHERE released_at IS NULL) AS held
WHERE EXISTS (
    SELECT FROM event_log
    WHERE event_log.tenant = held.tenant AND recorded_at >= $1 AND recorded_at < $2
)
ORDER BY tenant
