"""Nothing lost, nothing twice: whatever is stopped, killed or taken away under load."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator

import asyncpg
import pytest

from conftest import StartService
from milepost.processor import topics
from milepost.settings import Settings
from processor.history import send
from processor.oracle import Load, nothing_lost_nothing_twice
from signals import following


@pytest.fixture
async def fresh(settings: Settings, request: pytest.FixtureRequest) -> Settings:
    """This module's settings with topics and a consumer group of this test's own."""
    name = f"{settings.consumer_group}-{request.node.name.split('[')[0][5:]}"
    settings = settings.model_copy(update={"topic_prefix": f"{name}.", "consumer_group": name})
    await topics.apply(settings.kafka_bootstrap_servers, settings.topics, partitions=4)
    connection = await asyncpg.connect(settings.dsn)
    await connection.execute(
        "TRUNCATE executions, event_log, resources, tenant_activity, positions CASCADE"
    )
    await connection.close()
    return settings


@pytest.fixture
async def look(settings: Settings) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(settings.dsn)
    yield connection
    await connection.close()


async def test_a_worker_stopped_for_longer_than_its_session(
    fresh: Settings, service: StartService
) -> None:
    """A zombie: it goes on in the middle of whatever it did, when all it had is another's."""
    load = Load(1_200)
    workers = [await service("processor", settings=fresh) for _ in range(2)]
    sending = asyncio.create_task(send(fresh, load.records))
    async with following(fresh) as positions:
        await positions.reach(load.count // 5)
        os.kill(workers[0].pid, signal.SIGSTOP)
        try:
            await sending
            await positions.reach_end()
        finally:
            os.kill(workers[0].pid, signal.SIGCONT)
    await nothing_lost_nothing_twice(fresh, load)
    assert [await worker.stop() for worker in workers] == [0, 0]


async def test_sessions_of_the_database_killed(
    fresh: Settings, service: StartService, look: asyncpg.Connection
) -> None:
    load = Load(1_000)
    worker = await service("processor", settings=fresh)
    sending = asyncio.create_task(send(fresh, load.records))
    async with following(fresh) as positions:
        for fifth in range(1, 5):
            await positions.reach(fifth * load.count // 5)
            await look.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'milepost-processor' AND datname = current_database()"
            )
        await sending
        await positions.reach_end()
    await nothing_lost_nothing_twice(fresh, load)
    assert await worker.stop() == 0


async def test_sigterm(fresh: Settings, service: StartService) -> None:
    load = Load(1_500)
    worker = await service("processor", settings=fresh)
    sending = asyncio.create_task(send(fresh, load.records))
    async with following(fresh) as positions:
        for third in (1, 2):
            await positions.reach(third * load.count // 3)
            began = time.monotonic()
            assert await worker.stop() == 0
            assert time.monotonic() - began < 5
            worker = await service("processor", settings=fresh)
        await sending
        await positions.reach_end()
    await nothing_lost_nothing_twice(fresh, load)
    assert await worker.stop() == 0
