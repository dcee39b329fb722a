-- Where to stop after so many records of each partition.
-- $1 topic, $2 partitions, $3 their first offsets, $4 the ones to stop before at the latest, $5 records
SELECT
    wanted.partition,
    coalesce(
        (
            SELECT log."offset"
            FROM event_log AS log
            WHERE
                log.topic = $1
                AND log.partition = wanted.partition
                AND log."offset" >= wanted.first
                AND log."offset" < wanted.stop
            ORDER BY log."offset"
            OFFSET $5 LIMIT 1
        ),
        wanted.stop
    ) AS stop
FROM unnest($2::integer[], $3::bigint[], $4::bigint[]) AS wanted (partition, first, stop)
