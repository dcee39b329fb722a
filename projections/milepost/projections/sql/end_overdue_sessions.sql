-- Processors whose transaction has outlived transaction_timeout: Postgres looks at no timeout while it
-- waits for the rest of a COPY, which a process stopped in the middle of one never sends.
SELECT pg_terminate_backend(pid)
FROM pg_stat_activity
WHERE datname = current_database()
    AND usename = current_user
    AND application_name = current_setting('application_name')
    AND xact_start < now() - 1.1 * current_setting('transaction_timeout')::interval
    AND pid <> pg_backend_pid()
