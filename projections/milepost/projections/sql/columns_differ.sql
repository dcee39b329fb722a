-- Whether a table has other columns than the live table of the same name. $1 schema, $2 table
SELECT count(DISTINCT (
    SELECT array_agg((attname, atttypid, atttypmod, attcollation, attnotnull, attgenerated)::text ORDER BY attname)
    FROM pg_attribute
    WHERE attrelid = relation AND attnum > 0 AND NOT attisdropped
)) <> 1
FROM unnest(ARRAY[
    to_regclass(format('public.%I', $2::text)), to_regclass(format('%I.%I', $1::text, $2::text))
]) AS relation
