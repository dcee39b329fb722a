-- What the role lacks of what the services need. $1 tables that processors write, $2 those of them
-- that they only add to
SELECT
    current_user AS role,
    (
        SELECT array_agg(privilege || ' on ' || name ORDER BY name, privilege)
        FROM unnest($1::text[]) AS name
        CROSS JOIN unnest(ARRAY['SELECT', 'INSERT', 'UPDATE']) AS privilege
        WHERE NOT (privilege = 'UPDATE' AND name = ANY($2::text[]))
            AND to_regclass(name) IS NOT NULL AND NOT has_table_privilege(to_regclass(name), privilege)
    ) AS missing,
    (
        SELECT pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = to_regclass('event_log')
    ) AS owns_log,
    -- Null where there is no such role yet: migrations make it.
    coalesce(
        (SELECT pg_has_role(oid, 'MEMBER') FROM pg_roles WHERE rolname = 'milepost_api'), TRUE
    ) AS acts
