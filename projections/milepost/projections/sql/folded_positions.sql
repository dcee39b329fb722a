-- Up to where, without, each partition has been folded.
SELECT topic, partition, next_offset FROM positions ORDER BY topic, partition
