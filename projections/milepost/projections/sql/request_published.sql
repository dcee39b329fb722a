-- The broker has the requests of these executions. $1 execution ids, $2 their tenants
UPDATE requests
SET published_at = now()
FROM unnest($1::uuid[], $2::text[]) AS sent (execution_id, tenant)
WHERE
    requests.execution_id = sent.execution_id
    AND requests.tenant = sent.tenant
    AND requests.published_at IS NULL
