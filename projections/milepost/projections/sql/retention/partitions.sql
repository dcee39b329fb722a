-- The partitions of the log, the default one too.
SELECT relname FROM pg_inherits JOIN pg_class ON oid = inhrelid
WHERE inhparent = 'event_log'::regclass
ORDER BY relname
