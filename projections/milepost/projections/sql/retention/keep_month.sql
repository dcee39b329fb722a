-- $1 month, $2 file, $3 its sha256, $4 records, $5 and $6 when the first and the last were recorded
INSERT INTO archived_months (month, file, sha256, records, first_recorded_at, last_recorded_at)
VALUES ($1, $2, $3, $4, $5, $6)
