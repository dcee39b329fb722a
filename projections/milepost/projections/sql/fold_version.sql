-- The version of the fold that made the live generation, and whether there is anything in it.
SELECT fold_version, generation, EXISTS (SELECT FROM executions) AS folded
FROM projection_state
ORDER BY generation DESC
LIMIT 1
