"""What has changed since a vector of positions: the executions that the records beyond it belong to.

A vector says of each partition which offset the fold expects next; of a partition that it does not
name, 0. Everything below it has been seen. Records are visible as soon as positions are, so whoever
reads the positions first and then what lies before them misses nothing.
"""

from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final, NamedTuple, TypeAlias

import asyncpg

from milepost.projections.outgoing import unpack_headers
from milepost.projections.queries.held import (
    NO_HEARTBEATS,
    Heartbeats,
    Silence,
    heartbeats_json,
)
from milepost.projections.queries.positions import PartitionLag
from milepost.projections.queries.records import Connection
from milepost.projections.statements import statement
from milepost.schemas.notifications import COMPLETION_TYPE

Vector: TypeAlias = Mapping[int, int]

# Offsets of a partition that one query goes over: a quarter of a second where none is the tenant's.
SPAN: Final = 100_000
# Of bodies, in in_flight_now.sql.
ANSWER_BYTES: Final = 16_777_216

_COMPLETION: Final = COMPLETION_TYPE.partition("{")[0].encode()


@asynccontextmanager
async def moment(connection: Connection) -> AsyncIterator[None]:
    """A transaction in which everything is as at one moment, and all below is found by its key."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        await connection.execute(statement("by_key_only"))
        yield


class Folded(NamedTuple):
    """How far the fold is, and how far that is behind the log."""

    vector: Vector
    lag: tuple[PartitionLag, ...]


class Changed(NamedTuple):
    """An execution as it is now, its body still JSON text, and the id of the completion among the
    records that it was found by; None without one."""

    execution_id: str
    tenant: str
    state: str
    version: int
    requested: bool
    body: str
    silence: Silence
    completion_id: str | None


async def folded(connection: Connection, topic: str) -> Folded:
    """How far the fold is now."""
    rows = await connection.fetch(statement("positions_now"), topic)
    return Folded(
        {row[0]: row[1] for row in rows}, tuple(PartitionLag(row[0], *row[2:]) for row in rows)
    )


async def stop(
    connection: Connection, topic: str, since: Vector, folded: Vector, records: int
) -> Vector:
    """The vector to stop at, `folded` or before, in order to meet about so many records at most.

    Only records that the connection may see count; however few those are, no more than `SPAN` offsets
    of a partition are gone over.
    """
    first = {
        place: since.get(place, 0) for place, end in folded.items() if end > since.get(place, 0)
    }
    ahead = {place: min(folded[place], begin + SPAN) for place, begin in first.items()}
    if sum(ahead.values()) - sum(first.values()) > records:
        share = max(1, records // len(ahead))
        rows = await connection.fetch(
            statement("stops"),
            topic,
            list(ahead),
            list(first.values()),
            list(ahead.values()),
            share,
        )
        ahead = {row["partition"]: row["stop"] for row in rows}
    return {**folded, **ahead}


async def between(
    connection: Connection,
    topic: str,
    since: Vector,
    stop: Vector,
    *,
    tenants: Collection[str],
    execution_ids: Collection[str] = (),
    heartbeats: Heartbeats = NO_HEARTBEATS,
    now: datetime | None = None,
) -> list[Changed]:
    """The executions of these tenants, and these executions, that records between two vectors change.

    Each once, in the order of their last records. `heartbeats` and `now` as for `queries.execution`.
    """
    partitions = [partition for partition in stop if stop[partition] > since.get(partition, 0)]
    if not partitions or not (tenants or execution_ids):
        return []
    rows = await connection.fetch(
        statement("changes_between"),
        topic,
        partitions,
        [since.get(partition, 0) for partition in partitions],
        [stop[partition] for partition in partitions],
        list(tenants),
        list(execution_ids),
        heartbeats_json(heartbeats),
        now,
    )
    return [_changed(row) for row in rows]


async def in_flight(
    connection: Connection,
    tenant: str,
    *,
    states: Collection[str],
    operation: str | None,
    limit: int,
    heartbeats: Heartbeats = NO_HEARTBEATS,
    now: datetime | None = None,
) -> list[Changed]:
    """The newest of a tenant's executions that are not over, in these states; `fills_an_answer` says
    whether there may be more because they are large.

    With an operation, those of which it is not known yet count as well.
    """
    rows = await connection.fetch(
        statement("in_flight_now"),
        tenant, list(states), operation, limit, heartbeats_json(heartbeats), now,
    )  # fmt: skip
    return [_changed(row) for row in rows]


def fills_an_answer(changed: Iterable[Changed]) -> bool:
    """Whether nothing is read beyond these."""
    return sum(len(one.body.encode()) for one in changed) >= ANSWER_BYTES


def _changed(row: asyncpg.Record) -> Changed:
    id_, tenant, state, version, requested, body, silent_since, overdue_since, headers = row
    sent = [dict(unpack_headers(one)) for one in headers or ()]
    ids = [
        (one["ce_id"] or b"").decode()
        for one in sent
        if (one.get("ce_type") or b"").startswith(_COMPLETION)
    ]
    silence = Silence(silent_since, overdue_since)
    return Changed(id_, tenant, state, version, requested, body, silence, ids[0] if ids else None)
