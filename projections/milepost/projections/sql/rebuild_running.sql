-- Whether a session of this database has the lock of rebuilds. $1 its number
SELECT EXISTS (
    SELECT FROM pg_locks
    WHERE
        locktype = 'advisory'
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        -- Of locks with one number, not two.
        AND objsubid = 1
        AND (classid::bigint << 32) | objid::bigint = $1::bigint
        AND granted
)
