-- Those that are not over, however many are: by the index executions_in_flight.
SELECT * FROM executions WHERE tenant = $1 AND ended_at IS NULL
