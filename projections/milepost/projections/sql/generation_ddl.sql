-- The statements that make a table in another schema with everything that the live table has, its
-- indexes and constraints under the same names. $1 schema, $2 table
WITH live AS (
    SELECT
        pg_class.*, format('%I.%I', $1::text, relname) AS made, format('public.%I', relname) AS name
    FROM pg_class
    WHERE oid = to_regclass(format('public.%I', $2::text))
),

acl AS (
    SELECT made, relowner, NULL::name AS attname, granted.*
    FROM live, aclexplode(relacl) AS granted
    UNION ALL
    SELECT made, relowner, attname, granted.*
    FROM live JOIN pg_attribute ON attrelid = live.oid, aclexplode(attacl) AS granted
),

ddl (step, command) AS (
    SELECT 1, format('CREATE TABLE %s (LIKE %s INCLUDING ALL EXCLUDING INDEXES)', made, name)
        || coalesce(' WITH (' || array_to_string(reloptions, ', ') || ')', '')
    FROM live
    UNION ALL
    SELECT 2, format('ALTER TABLE %s OWNER TO %I', made, pg_get_userbyid(relowner)) FROM live
    UNION ALL
    SELECT 3, format('ALTER TABLE %s ADD CONSTRAINT %I %s', made, conname, pg_get_constraintdef(c.oid))
    FROM live JOIN pg_constraint AS c ON conrelid = live.oid
    WHERE contype IN ('p', 'u', 'x', 'f')
    UNION ALL
    SELECT 4, replace(pg_get_indexdef(indexrelid), format(' ON %s ', name), format(' ON %s ', made))
    FROM live JOIN pg_index ON indrelid = live.oid
    WHERE NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid AND conrelid = live.oid)
    UNION ALL
    SELECT 5, format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', made) FROM live
    WHERE relrowsecurity
    UNION ALL
    SELECT 5, format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', made) FROM live
    WHERE relforcerowsecurity
    UNION ALL
    SELECT 6, format(
        'CREATE POLICY %I ON %s AS %s FOR %s TO %s', policyname, made, permissive, cmd,
        (
            SELECT string_agg(CASE role WHEN 'public' THEN role ELSE quote_ident(role) END, ', ')
            FROM unnest(roles) AS role
        )
    ) || coalesce(' USING (' || qual || ')', '')
    || coalesce(' WITH CHECK (' || with_check || ')', '')
    FROM live JOIN pg_policies ON schemaname = 'public' AND tablename = relname
    UNION ALL
    SELECT 7, format(
        'GRANT %s%s ON %s TO %s%s', privilege_type, coalesce(' (' || quote_ident(attname) || ')', ''), made,
        CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END,
        CASE WHEN is_grantable AND grantee <> relowner THEN ' WITH GRANT OPTION' ELSE '' END
    )
    FROM acl
)

SELECT command FROM ddl ORDER BY step, command
