-- Endpoints that were disabled without being asked to, and those that fail now.
SELECT
    tenant,
    endpoint_id,
    CASE WHEN disabled_at IS NOT NULL THEN disabled_reason END AS reason,
    now() - failing_since AS failing
FROM webhook_endpoints
WHERE
    CASE
        WHEN disabled_at IS NULL THEN failing_since IS NOT NULL
        ELSE disabled_reason <> 'asked'
    END
ORDER BY disabled_at DESC NULLS LAST, failing_since
