-- By how much the broker's clock is ahead of this one, at least and at most; null: not known.
-- Nothing is recorded later than now, and what the API publishes is recorded after it was noted and before
-- it was marked as published. $1 topic of the events, $2 records of each partition
WITH published AS (
    SELECT log.recorded_at, request.created_at, request.published_at
    FROM positions AS held
    JOIN event_log AS log
        ON log.topic = held.topic
        AND log.partition = held.partition
        AND log."offset" >= held.next_offset - $2
        AND log."offset" < held.next_offset
    JOIN requests AS request
        ON request.execution_id = log.execution_id
        AND request.tenant = log.tenant
        AND request.event_id = log.event_id
    WHERE
        held.topic = $1
        AND request.published_at IS NOT NULL
        AND request.published_at > now() - INTERVAL '1 hour'
)

SELECT
    greatest(
        (SELECT max(recorded_at - published_at) FROM published),
        (SELECT max(recorded_at) - now() FROM positions WHERE topic = $1)
    ) AS least,
    (SELECT min(recorded_at - created_at) FROM published) AS most
