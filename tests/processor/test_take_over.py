"""Taking a partition over: interrupted, after a stopped owner, from topics that are not the same."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import httpx2
import pytest
from faust.types import TP

from conftest import StartService
from milepost.processor import reader, topics
from milepost.processor.ownership import Ownership
from milepost.projections.statements import statement
from milepost.projections.store import SESSION, Store
from milepost.settings import Settings
from processor.history import execution, send
from signals import DEADLINE, following


class NoConsumer:
    """Nothing is fetched in these tests."""

    def on_buffer_full(self, tp: TP) -> None: ...
    def on_buffer_drop(self, tp: TP) -> None: ...


@asynccontextmanager
async def owner(settings: Settings, **session: str) -> AsyncIterator[Ownership]:
    """An owner without Faust; whatever ends it fails the test."""

    async def crash(error: BaseException) -> None:
        raise error

    async with (
        asyncpg.create_pool(settings.dsn, min_size=1, server_settings=SESSION | session) as pool,
        topics.connected(settings) as admin,
        reader.connected(settings) as log,
    ):
        ownership = Ownership(settings, Store(pool, settings.topics), admin, log, crash)
        ownership.consumer = NoConsumer()  # type: ignore[assignment]
        yield ownership
        await ownership.revoked()


@pytest.fixture
async def look(settings: Settings) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(settings.dsn)
    yield connection
    await connection.close()


async def waiting_for_a_lock(look: asyncpg.Connection) -> None:
    """Until some processor waits for a lock."""
    async with asyncio.timeout(DEADLINE):
        while not await look.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            " AND application_name = 'milepost-processor' AND datname = current_database()"
        ):
            pass


async def test_one_that_is_revoked_meanwhile_fences_nobody(
    settings: Settings, look: asyncpg.Connection
) -> None:
    tp = TP(settings.topics.events, 0)
    async with owner(settings) as late, owner(settings) as next_owner:
        assert await late.assigned(frozenset([tp])) == {tp: 0}
        await late.revoked()
        epoch = "SELECT epoch FROM positions WHERE topic = $1 AND partition = $2"
        before = await look.fetchval(epoch, *tp)
        async with look.transaction():
            await look.execute(statement("lock_position"), *tp)
            taking = asyncio.create_task(late.assigned(frozenset([tp])))
            other = await asyncpg.connect(settings.dsn)
            await waiting_for_a_lock(other)
            await other.close()
            await late.revoked()
            assert await taking is None
        assert late.progress() == {}
        assert await next_owner.assigned(frozenset([tp])) == {tp: 0}
        assert await look.fetchval(epoch, *tp) == before + 1


async def test_of_two_assignments_at_once_the_later_counts(settings: Settings) -> None:
    one, two = TP(settings.topics.events, 1), TP(settings.topics.events, 2)
    async with owner(settings) as ownership:
        first = asyncio.create_task(ownership.assigned(frozenset([one])))
        await asyncio.sleep(0)
        assert await ownership.assigned(frozenset([two])) == {two: 0}
        assert await first is None
        assert set(ownership.progress()) == {two}


async def test_an_owner_stopped_in_the_middle_of_a_copy(
    settings: Settings, look: asyncpg.Connection
) -> None:
    """Postgres waits for the rest of it whatever its timeouts say."""
    tp = TP(settings.topics.events, 3)
    async with owner(settings) as ownership:
        await ownership.assigned(frozenset([tp]))
    stopped = await asyncpg.connect(settings.dsn, server_settings=SESSION)
    begun = asyncio.Event()

    async def half() -> AsyncIterator[bytes]:
        begun.set()
        await asyncio.Event().wait()
        yield b""

    await stopped.execute("BEGIN")
    await stopped.execute(statement("lock_position"), *tp)
    copying = asyncio.create_task(stopped.copy_to_table("executions", source=half()))
    await begun.wait()
    async with owner(settings, lock_timeout="100ms", transaction_timeout="1s") as ownership:
        assert await ownership.assigned(frozenset([tp])) == {tp: 0}
    copying.cancel()
    await asyncio.wait([copying])
    stopped.terminate()


async def test_a_topic_made_anew_is_not_read(
    settings: Settings, service: StartService, look: asyncpg.Connection
) -> None:
    """Its first three partitions get fewer, as many and more records than were folded of the old."""
    name = f"{settings.consumer_group}-anew"
    settings = settings.model_copy(
        update={"topic_prefix": f"{name}.", "consumer_group": name, "api_port": 0}
    )
    events = settings.topics.events
    await topics.apply(settings, partitions=4)
    worker = await service("processor", settings=settings)
    for number in range(3):
        await send(settings, execution("acme", f"old-{number}")[:3], partition=number)
    async with following(settings) as positions:
        await positions.reach_end()
    await worker.stop()

    async with topics.connected(settings) as admin, asyncio.timeout(DEADLINE):
        await admin.delete_topics([events])
        # It is gone some time after the answer.
        while events in await admin.list_topics():
            pass
    await topics.apply(settings, partitions=4)
    for number, count in enumerate([1, 3, 5]):
        await send(settings, execution("acme", f"new-{number}")[:count], partition=number)

    worker = await service("processor", settings=settings)
    assert worker.ready["partitions"] == [3]
    rows = await look.fetch(
        "SELECT partition, next_offset, problem FROM positions"
        " WHERE topic = $1 AND problem IS NOT NULL ORDER BY 1",
        events,
    )
    assert [(row["partition"], row["next_offset"]) for row in rows] == [(0, 3), (1, 3), (2, 3)]
    for row in rows:
        assert f"{events}/{row['partition']}: " in row["problem"]
        assert "the topic was made anew" in row["problem"]
        assert "restart the processors" in row["problem"]
    api = await service("api", settings=settings)
    async with httpx2.AsyncClient(base_url=api.ready["api"], trust_env=False) as client:
        answer = await client.get("/readyz")
    assert answer.status_code == 503
    assert "the topic was made anew" in answer.text


async def test_a_paused_partition_goes_on_once_it_is_put_right(
    settings: Settings, look: asyncpg.Connection
) -> None:
    tp = TP(settings.topics.events, 0)
    async with owner(settings) as ownership:
        await ownership.assigned(frozenset([tp]))
        move = "UPDATE positions SET next_offset = $2 WHERE partition = 0 AND topic = $1"
        await look.execute(move, tp.topic, 7)
        assert await ownership.assigned(frozenset([tp])) == {}
        assert ownership.paused == {tp}
        problem = "SELECT problem FROM positions WHERE partition = 0 AND topic = $1"
        assert "the broker ends at 0" in await look.fetchval(problem, tp.topic)
        await look.execute(move, tp.topic, 0)
        assert await ownership.assigned(frozenset([tp])) == {tp: 0}
        assert ownership.paused == frozenset()
        assert await look.fetchval(problem, tp.topic) is None
