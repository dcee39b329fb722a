"""Publishers may write in transactions: what ends them takes offsets, and is no lag for ever."""

from collections.abc import AsyncIterator
from uuid import uuid4

import asyncpg
import pytest
from aiokafka import AIOKafkaProducer

from conftest import StartService
from milepost.schemas.binding import Encoded
from milepost.settings import Settings
from processor.history import execution
from signals import following


@pytest.fixture
async def publisher(settings: Settings) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(
        bootstrap_servers=settings.kafka_bootstrap_servers, transactional_id=str(uuid4())
    )
    await producer.start()
    yield producer
    await producer.stop()


async def publish(
    producer: AIOKafkaProducer, settings: Settings, records: list[Encoded], partition: int = 0
) -> None:
    for key, value, headers in records:
        await producer.send_and_wait(
            settings.topics.events, key=key, value=value, headers=headers, partition=partition
        )


async def test_the_position_passes_markers_and_what_was_aborted(
    settings: Settings, service: StartService, publisher: AIOKafkaProducer
) -> None:
    await service("processor")
    history = execution("acme", "one")
    async with following(settings) as positions:
        begin = await positions.reach_end()
        await publisher.begin_transaction()
        await publish(publisher, settings, history[:2])
        await publisher.commit_transaction()
        assert await positions.reach_end() == begin + 3

        await publisher.begin_transaction()
        await publish(publisher, settings, history[4:])
        await publisher.abort_transaction()
        assert await positions.reach_end() == begin + 5

        await publisher.begin_transaction()
        await publish(publisher, settings, history[2:])
        await publisher.commit_transaction()
        assert await positions.reach_end() == begin + 9
    connection = await asyncpg.connect(settings.dsn)
    offsets = await connection.fetch(
        'SELECT "offset" FROM event_log WHERE partition = 0 ORDER BY 1'
    )
    assert [row["offset"] for row in offsets] == [0, 1, 5, 6, 7]
    [row] = await connection.fetch("SELECT state, ordinal FROM executions")
    assert tuple(row) == ("succeeded", 5)
    await connection.close()


async def test_what_is_not_committed_yet_is_no_lag(
    settings: Settings, service: StartService, publisher: AIOKafkaProducer
) -> None:
    await publisher.begin_transaction()
    await publish(publisher, settings, execution("acme", "two"), partition=1)
    worker = await service("processor")
    connection = await asyncpg.connect(settings.dsn)
    # The end is reported each second.
    behind = (
        "SELECT end_offset - next_offset FROM positions WHERE partition = 1 AND end_offset_at > $1"
    )
    now = await connection.fetchval("SELECT now()")
    while (lag := await connection.fetchval(behind, now)) is None:
        assert worker.exit_status is None
    assert lag == 0
    await connection.close()
    await publisher.abort_transaction()
