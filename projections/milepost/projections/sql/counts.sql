-- For who watches: executions that are silent, and requests that wait to be published.
-- $1 heartbeats by provider
SELECT
    (
        SELECT count(*)
        FROM executions AS held
        CROSS JOIN LATERAL silence(
            held.ended_at, held.first_recorded_at, held.recorded_at, held.provider, held.body,
            $1::json, now()
        ) AS silence
        WHERE held.ended_at IS NULL AND silence.silent_since IS NOT NULL
    ) AS silent,
    (SELECT count(*) FROM requests WHERE published_at IS NULL) AS unpublished
