-- $1 tenant, $2 reason, $3 now, $4 by whom
UPDATE legal_holds SET released_at = $3, released_by = $4
WHERE tenant = $1 AND reason = $2 AND released_at IS NULL
