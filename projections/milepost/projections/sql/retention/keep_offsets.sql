-- $1 month, $2 topic, $3 partition, $4 first and $5 last offset, $6 records
INSERT INTO archived_offsets (month, topic, partition, first_offset, last_offset, records)
VALUES ($1, $2, $3, $4, $5, $6)
