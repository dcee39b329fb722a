-- The number of this transaction; null while it has changed nothing.
SELECT pg_current_xact_id_if_assigned()::text
