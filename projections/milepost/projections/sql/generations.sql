-- Every generation, the live one first.
SELECT generation, fold_version FROM projection_state ORDER BY generation DESC
