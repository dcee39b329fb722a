-- What the fold sends out for the records of one partition from offset $3 up to, without, $4.
SELECT "offset", emitted
FROM event_log
WHERE topic = $1 AND partition = $2 AND "offset" >= $3 AND "offset" < $4 AND emitted IS NOT NULL
ORDER BY "offset"
LIMIT $5
