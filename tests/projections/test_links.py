"""Links as they are stored: once, in any order of events, and without a price for other updates."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from milepost.projections.batch import decode_all, fold
from milepost.projections.link import LinkRow
from projections.runs import TOPICS, Record, Run, placed
from projections.stored import Log, connected

PARENT = "00000000-0000-5000-8000-00000000000a"
LINKS = {"parent": PARENT, "retry_of": PARENT, "workflow_id": "release-7"}


@pytest.fixture(scope="module")
async def pool(database: str) -> AsyncIterator[asyncpg.Pool]:
    async with await connected(database, size=1) as pool:
        yield pool


@pytest.fixture
async def log(pool: asyncpg.Pool, database: str) -> AsyncIterator[Log]:
    look = await asyncpg.connect(database)
    yield Log(pool, look)
    await look.close()


def rows(*records: Record) -> list[LinkRow]:
    return fold(decode_all(placed(records)), {}, TOPICS).links


class TestFold:
    def test_every_link_of_a_request_is_a_row(self) -> None:
        found = rows(Run().requested(links=LINKS))
        assert {(row.relation, row.target) for row in found} == set(LINKS.items())
        assert {row.execution_id for row in found} == {Run().execution_id}
        assert found == sorted(found)

    def test_without_links_there_is_none(self) -> None:
        assert rows(Run().requested(), Run().started()) == []

    def test_a_request_that_comes_late_brings_them(self) -> None:
        late = rows(Run().started(at=1), Run().succeeded(), Run().requested(at=0, links=LINKS))
        assert {(row.relation, row.target) for row in late} == set(LINKS.items())

    def test_a_request_told_twice_brings_them_once(self) -> None:
        again = [Run().requested(links=LINKS), Run().requested(at=1, links=LINKS)]
        assert rows(*again) == rows(again[0])

    def test_a_request_under_a_used_key_brings_none(self) -> None:
        other = Run().requested(at=1, links={"parent": PARENT})
        assert rows(Run().requested(), other) == []


class TestStore:
    async def test_they_are_written_once_however_the_events_come(self, log: Log) -> None:
        run = log.run()
        epoch = await log.own()
        for offset, record in enumerate(
            (run.started(), run.requested(links=LINKS), run.requested(links=LINKS), run.succeeded())
        ):
            await log.write(record, start=offset, epoch=epoch)
        columns = "relation, target, execution_id::text"
        assert await log.fetch("execution_links", columns) == [
            (relation, target, run.execution_id) for relation, target in sorted(LINKS.items())
        ]

    async def test_updates_of_executions_stay_heap_only_until_they_end(
        self, log: Log, pool: asyncpg.Pool
    ) -> None:
        run = log.run()
        epoch = await log.own()
        await log.write(run.requested(links=LINKS), epoch=epoch)
        before = await self._updates(pool)
        for number in range(1, 5):
            await log.write(run.progressed(at=number, percent=number), start=number, epoch=epoch)
        updates, heap_only = await self._updates(pool)
        assert (updates - before[0], heap_only - before[1]) == (4, 4)
        # The end takes it out of the index of what is in flight: once.
        await log.write(run.succeeded(at=5), start=5, epoch=epoch)
        assert await self._updates(pool) == (updates + 1, heap_only)

    async def _updates(self, pool: asyncpg.Pool) -> tuple[int, int]:
        async with pool.acquire() as connection:
            await connection.execute("SELECT pg_stat_force_next_flush()")
            row = await connection.fetchrow("""
                SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables
                WHERE relname = 'executions' AND schemaname = 'public'""")
        assert row is not None
        return row["n_tup_upd"], row["n_tup_hot_upd"]
