-- What Postgres is, whether it can be written to, and how full it is.
SELECT
    current_setting('server_version_num')::integer / 10000 AS version,
    quote_ident(current_database()) AS database,
    pg_is_in_recovery() AS standby,
    current_setting('default_transaction_read_only')::boolean AS read_only,
    (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS used,
    current_setting('max_connections')::integer AS most
