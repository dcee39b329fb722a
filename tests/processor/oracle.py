"""What must hold after whatever happened: nothing lost, nothing twice."""

import json
from collections import Counter
from dataclasses import dataclass

import asyncpg

from milepost.schemas.binding import Encoded
from milepost.settings import Settings
from processor.history import execution
from signals import read, read_all


@dataclass(frozen=True)
class Load:
    """So many executions of five records each; one in ten fails."""

    executions: int
    tenant: str = "tenant"

    @property
    def records(self) -> list[Encoded]:
        """All of them in the order of their executions."""
        histories = (
            execution(f"{self.tenant}-{number % 7}", f"key-{number}", fails=number % 10 == 0)
            for number in range(self.executions)
        )
        return [record for history in histories for record in history]

    @property
    def count(self) -> int:
        """How many records that is."""
        return 5 * self.executions

    @property
    def failed(self) -> int:
        """How many executions fail."""
        return len(range(0, self.executions, 10))


async def nothing_lost_nothing_twice(settings: Settings, load: Load) -> None:
    """Of a load that is all that these topics have."""
    connection = await asyncpg.connect(settings.dsn)
    try:
        await _every_record_is_in_the_log_once(connection, settings.topics.events, load)
        await _every_aggregate_is_right(connection, load)
    finally:
        await connection.close()
    names = settings.topics
    completions = (f"{names.prefix}succeeded.v1", f"{names.prefix}failed.v1")
    assert await _executions_of(settings, load, *completions) == load.executions
    assert await _executions_of(settings, load, names.commands) == load.executions


async def _every_record_is_in_the_log_once(
    connection: asyncpg.Connection, topic: str, load: Load
) -> None:
    rows = await connection.fetch(
        'SELECT partition, count(*), count(DISTINCT "offset") AS distinct, max("offset") + 1 AS end'
        " FROM event_log WHERE topic = $1 GROUP BY partition",
        topic,
    )
    assert {row["partition"]: (row["distinct"], row["end"]) for row in rows} == {
        row["partition"]: (row["count"], row["count"]) for row in rows
    }
    assert sum(row["count"] for row in rows) == load.count


async def _every_aggregate_is_right(connection: asyncpg.Connection, load: Load) -> None:
    rows = await connection.fetch("SELECT state, ordinal, count(*) FROM executions GROUP BY 1, 2")
    succeeded = load.executions - load.failed
    assert {tuple(row) for row in rows} == {
        ("succeeded", 5, succeeded),
        ("failed", 5, load.failed),
    }
    activity = await connection.fetchrow(
        "SELECT sum(pending) AS pending, sum(running) AS running, sum(succeeded) AS succeeded,"
        " sum(failed) AS failed FROM tenant_activity"
    )
    assert activity is not None
    assert tuple(activity) == (0, 0, succeeded, load.failed)
    assert await connection.fetchval("SELECT count(*) FROM resources") == load.executions


async def _executions_of(settings: Settings, load: Load, *topics: str) -> int:
    """How many have a record on these topics; none has two."""
    await read(settings, *topics, until=lambda found: len(found) >= load.executions)
    seen = Counter(
        json.loads(record.value)["execution_id"] for record in await read_all(settings, *topics)
    )
    assert set(seen.values()) == {1}
    return len(seen)
