"""Postgres restored from an older backup: what is folded again is not sent again."""

import json

import asyncpg

from conftest import StartService
from milepost.processor import topics
from milepost.settings import Settings
from processor.history import execution, send
from signals import following, read, read_all


async def test_the_relay_is_ahead_of_the_fold(settings: Settings, service: StartService) -> None:
    names = settings.topics
    outgoing = (names.commands, f"{names.prefix}succeeded.v1")
    first, second = execution("acme", "one"), execution("acme", "two")
    worker = await service("processor")
    await send(settings, first, partition=0)
    async with following(settings) as positions:
        await positions.reach_end()
        await read(settings, *outgoing, until=lambda found: len(found) == 2)
        await worker.stop()

        connection = await asyncpg.connect(settings.dsn)
        await connection.execute(
            "TRUNCATE executions, resources, tenant_activity, event_log;"
            " UPDATE positions SET next_offset = 0, relayed = NULL"
        )
        worker = await service("processor")
        await positions.reach_end()
        await send(settings, second, partition=0)
        await positions.reach_end()
    await read(settings, *outgoing, until=lambda found: len(found) >= 4)
    await worker.stop()

    sent = [
        json.loads(record.value)["execution_id"] for record in await read_all(settings, *outgoing)
    ]
    assert sorted(sent) == sorted(2 * [first[0].key.decode(), second[0].key.decode()])
    states = await connection.fetch("SELECT state, ordinal FROM executions")
    assert [tuple(row) for row in states] == 2 * [("succeeded", 5)]
    await connection.close()
    async with topics.connected(settings) as admin:
        offsets = await admin.list_consumer_group_offsets(settings.consumer_group)
    assert max(offset.offset for offset in offsets.values()) == 10
