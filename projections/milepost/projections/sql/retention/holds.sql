-- Every hold there has been, those in force first.
SELECT tenant, reason, placed_at, placed_by, released_at, released_by
FROM legal_holds
ORDER BY released_at IS NOT NULL, tenant, placed_at
