-- What pogo has noted of the migrations that it applied.
SELECT migration_id FROM public._pogo_migration WHERE schema_name = 'public'
