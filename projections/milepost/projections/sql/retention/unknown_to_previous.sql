-- Whether the generation before the live one does not know some record from $1 up to, without, $2.
SELECT EXISTS (
    SELECT FROM event_log
    JOIN positions USING (topic, partition)
    WHERE
        event_log.recorded_at >= $1 AND event_log.recorded_at < $2
        AND "offset" >= switched_offset
)
