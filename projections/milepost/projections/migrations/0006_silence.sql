-- Executions that stay away longer than they should
-- depends: 0005_execution_links

-- migrate: apply

-- Since when an execution that is not over has been silent, and since when it has been overdue; null
-- where it is not. Silent: no event within its heartbeat, else its provider's in `heartbeats`, else the
-- one under '*'; seconds from the last recorded event. Overdue: not over within its duration; seconds
-- from the first recorded event. (least() ignores null: no limit means never.)
CREATE FUNCTION silence(
    ended_at timestamptz, first_recorded_at timestamptz, recorded_at timestamptz, provider text,
    body json, heartbeats json, now timestamptz
) RETURNS TABLE (silent_since timestamptz, overdue_since timestamptz)
LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT
        CASE WHEN ended_at IS NULL THEN nullif(
            least(now, recorded_at + make_interval(secs => coalesce(
                body #>> '{facts,expectations,1,heartbeat_seconds}',
                heartbeats ->> provider,
                heartbeats ->> '*'
            )::float8)),
            now
        ) END,
        CASE WHEN ended_at IS NULL THEN nullif(
            least(now, first_recorded_at + make_interval(
                secs => (body #>> '{facts,expectations,1,duration_seconds}')::float8
            )),
            now
        ) END
$$;

-- The few that are not over, however many are. Rows move out of it once, when they end: every other
-- update stays heap-only.
CREATE INDEX executions_in_flight ON executions (tenant, first_recorded_at, execution_id)
WHERE ended_at IS NULL;

-- migrate: rollback

DROP INDEX executions_in_flight;
DROP FUNCTION silence;
