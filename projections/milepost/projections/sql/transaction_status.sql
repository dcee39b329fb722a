-- What became of a transaction: committed, aborted or in progress. $1 its number
SELECT pg_xact_status($1::text::xid8)
