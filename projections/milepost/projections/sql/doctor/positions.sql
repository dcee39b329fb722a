-- Where the fold of each partition stands. $1 topic of the events
SELECT partition, next_offset, relayed, problem FROM positions WHERE topic = $1 ORDER BY partition
