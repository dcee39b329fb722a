-- For how many coming months the log has a partition, and whether records lie in none of a month's
SELECT
    (
        SELECT count(*)
        FROM pg_inherits
        JOIN pg_class ON pg_class.oid = inhrelid
        WHERE inhparent = 'event_log'::regclass
            AND relname ~ '^event_log_\d{4}_\d{2}$'
            AND relname > to_char(now() AT TIME ZONE 'UTC', '"event_log_"YYYY_MM')
    ) AS ahead,
    EXISTS (SELECT FROM event_log_default) AS default_in_use
