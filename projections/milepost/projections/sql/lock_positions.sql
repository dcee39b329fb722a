-- Every processor waits at its first statement until this transaction ends.
SELECT topic, partition, next_offset FROM positions ORDER BY topic, partition FOR UPDATE
