-- Settings of Postgres, by name. $1 names
SELECT name, setting FROM pg_settings WHERE name = ANY($1::text[]) ORDER BY name
