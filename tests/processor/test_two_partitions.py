"""Each execution's records come through two partitions at once, owned by two workers.

Publishers in other languages use other partitioners (murmur2, crc32), so that what two of them report
of one execution meets in Postgres only. Whoever loses reads again and folds again.
"""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from random import Random
from typing import Final

import asyncpg
import pytest

from conftest import StartService
from milepost.schemas.binding import Encoded
from milepost.schemas.values import TERMINAL
from milepost.settings import Settings
from oracle import Place, Recomputed, recompute
from processor.history import execution, send
from signals import end_of, following, read, read_all

EXECUTIONS: Final = 400
BATCH: Final = 100
RECORDS: Final = 7 * EXECUTIONS
# Where the oracle is told in which order records of different partitions were folded.
_ORDINALS: Final = 'SELECT partition, "offset", coalesce(ordinal, 0) FROM event_log'


def published(random: Random) -> tuple[list[Encoded], list[Encoded]]:
    """What comes through one and through the other partition, in any order.

    Each record of an execution through either, at random; two of them again, through the other.
    """
    sides: tuple[list[Encoded], list[Encoded]] = ([], [])
    for index in range(EXECUTIONS):
        records = execution(f"tenant-{index % 3}", f"key-{index}", fails=index % 10 == 0)
        again = random.sample(range(len(records)), 2)
        for place, record in enumerate(records):
            side = random.randrange(2)
            sides[side].append(record)
            if place in again:
                sides[1 - side].append(record)
    for records in sides:
        random.shuffle(records)
    return sides


@pytest.fixture(scope="module")
async def folded(settings: Settings, service: StartService) -> AsyncIterator[asyncpg.Connection]:
    """Everything, published while both workers fold."""
    # Small batches: many transactions, that often are in each other's way.
    small = settings.model_copy(update={"batch_records": BATCH})
    await service("processor", settings=small)
    second = await service("processor", settings=small)
    theirs = second.ready["partitions"]
    others = sorted({0, 1, 2, 3} - {*theirs})
    assert theirs
    assert others, "each worker owns a partition"
    async with following(settings) as positions:
        one, other = published(Random(4))
        await asyncio.gather(
            send(settings, one, partition=others[0]), send(settings, other, partition=theirs[0])
        )
        assert await positions.reach_end() == RECORDS
    connection = await asyncpg.connect(settings.dsn)
    yield connection
    await connection.close()


@pytest.fixture(scope="module")
async def expected(folded: asyncpg.Connection, settings: Settings) -> Recomputed:
    """What the oracle makes of the records, in the order in which they were folded."""
    ordinals: dict[Place, int] = {
        (partition, offset): ordinal for partition, offset, ordinal in await folded.fetch(_ORDINALS)
    }
    return recompute(await read_all(settings, settings.topics.events), ordinals.__getitem__)


async def test_all_executions_end_as_they_did(folded: asyncpg.Connection) -> None:
    rows = await folded.fetch("SELECT state, ordinal, count(*) FROM executions GROUP BY 1, 2")
    assert {tuple(row) for row in rows} == {
        ("succeeded", 7, EXECUTIONS * 9 // 10),
        ("failed", 7, EXECUTIONS // 10),
    }


async def test_their_records_came_through_both_partitions(folded: asyncpg.Connection) -> None:
    rows = await folded.fetch(
        "SELECT count(DISTINCT partition) FROM event_log GROUP BY tenant, execution_id"
    )
    assert [count for (count,) in rows] == [2] * EXECUTIONS


async def test_ordinals_are_unique_and_without_gaps(folded: asyncpg.Connection) -> None:
    rows = await folded.fetch(
        "SELECT array_agg(ordinal ORDER BY ordinal) FROM event_log GROUP BY tenant, execution_id"
    )
    assert [ordinals for (ordinals,) in rows] == [[1, 2, 3, 4, 5, 6, 7]] * EXECUTIONS


async def test_dispositions(folded: asyncpg.Connection, expected: Recomputed) -> None:
    rows = await folded.fetch('SELECT partition, "offset", disposition FROM event_log')
    assert len(rows) == len(expected.expected) == RECORDS
    for partition, offset, disposition in rows:
        assert disposition[0] in expected.expected[partition, offset]


async def test_one_completion_and_one_command_each(
    folded: asyncpg.Connection, settings: Settings, expected: Recomputed
) -> None:
    names = settings.topics
    topics = [names.commands, *(names.completions(state) for state in sorted(TERMINAL))]
    least = (expected.completions + expected.commands).total()
    await read(settings, *topics, until=lambda found: len(found) >= least)
    found = [
        (record.topic, json.loads(record.value)) for record in await read_all(settings, *topics)
    ]
    assert expected.completions.total() == EXECUTIONS
    assert expected.completions == Counter(
        (one["state"], one["tenant"], one["execution_id"])
        for topic, one in found
        if topic != names.commands
    )
    assert expected.commands == Counter(
        (one["command"], one["event_id"], one["tenant"], one["execution_id"])
        for topic, one in found
        if topic == names.commands
    )


async def test_the_activity_of_tenants_adds_up(
    folded: asyncpg.Connection, expected: Recomputed
) -> None:
    rows = await folded.fetch(
        "SELECT tenant, sum(pending + running + cancelled)::int, sum(succeeded)::int,"
        " sum(failed)::int FROM tenant_activity GROUP BY tenant"
    )
    found: Counter[tuple[str, str]] = Counter()
    for tenant, others, succeeded, failed in rows:
        assert others == 0
        found[tenant, "succeeded"], found[tenant, "failed"] = succeeded, failed
    assert found == expected.states


async def test_both_positions_are_at_the_end(
    folded: asyncpg.Connection, settings: Settings
) -> None:
    positions = [next_ for (next_,) in await folded.fetch("SELECT next_offset FROM positions")]
    assert len(positions) == 4
    assert sum(positions) == await end_of(settings, settings.topics.events) == RECORDS
