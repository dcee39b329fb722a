"""Nothing lost, nothing twice: processors killed under load, each time after progress."""

import asyncio
import json
from collections import Counter

import asyncpg

from conftest import StartService
from milepost.settings import Settings
from processor.history import execution, send
from signals import following, read, read_all

EXECUTIONS = 1_500
RECORDS = 5 * EXECUTIONS
KILLS = 3


async def test_kill_9_loses_and_repeats_nothing(settings: Settings, service: StartService) -> None:
    histories = [
        execution(f"tenant-{number % 7}", f"key-{number}", fails=number % 10 == 0)
        for number in range(EXECUTIONS)
    ]
    sending = asyncio.create_task(
        send(settings, [record for history in histories for record in history])
    )
    async with following(settings) as positions:
        survivor = await service("processor")
        for kill in range(1, KILLS + 1):
            worker = await service("processor")
            await positions.reach(kill * RECORDS // (KILLS + 2))
            await survivor.kill()
            survivor = worker
        await sending
        assert await positions.reach_end() == RECORDS

    await every_record_is_in_the_log_once(settings)
    await every_aggregate_is_right(settings)
    await everything_went_out_once(settings)


async def every_record_is_in_the_log_once(settings: Settings) -> None:
    connection = await asyncpg.connect(settings.dsn)
    rows = await connection.fetch(
        'SELECT partition, count(*), count(DISTINCT "offset") AS distinct, max("offset") + 1 AS end'
        " FROM event_log GROUP BY partition"
    )
    for row in rows:
        assert row["count"] == row["distinct"] == row["end"]
    assert sum(row["count"] for row in rows) == RECORDS
    await connection.close()


async def every_aggregate_is_right(settings: Settings) -> None:
    connection = await asyncpg.connect(settings.dsn)
    failed = len(range(0, EXECUTIONS, 10))
    rows = await connection.fetch(
        "SELECT state, version, ordinal, count(*) FROM executions GROUP BY 1, 2, 3"
    )
    assert {tuple(row) for row in rows} == {
        ("succeeded", 5, 5, EXECUTIONS - failed),
        ("failed", 5, 5, failed),
    }
    activity = await connection.fetchrow(
        "SELECT sum(pending) AS pending, sum(running) AS running, sum(succeeded) AS succeeded,"
        " sum(failed) AS failed FROM tenant_activity"
    )
    assert activity is not None
    assert tuple(activity) == (0, 0, EXECUTIONS - failed, failed)
    assert await connection.fetchval("SELECT count(*) FROM resources") == EXECUTIONS
    await connection.close()


async def everything_went_out_once(settings: Settings) -> None:
    names = settings.topics
    topics = (names.commands, f"{names.prefix}succeeded.v1", f"{names.prefix}failed.v1")
    await read(settings, *topics, until=lambda found: len(found) >= 2 * EXECUTIONS)
    outgoing = await read_all(settings, *topics)
    seen = Counter(
        (record.topic == names.commands, json.loads(record.value)["execution_id"])
        for record in outgoing
    )
    assert len(seen) == 2 * EXECUTIONS
    assert set(seen.values()) == {1}
