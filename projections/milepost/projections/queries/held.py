"""One execution, or several by their ids: as the fold holds them now."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Final, NamedTuple, TypeAlias

import orjson

from milepost.projections.queries.positions import PartitionLag, rows
from milepost.projections.queries.records import Connection
from milepost.projections.statements import statement

# Seconds without an event after which an execution is silent where its request says nothing: by
# provider, and under "*" for all others.
Heartbeats: TypeAlias = Mapping[str, float]
NO_HEARTBEATS: Final[Heartbeats] = MappingProxyType({})


class Silence(NamedTuple):
    """Since when an execution has been silent and overdue (see `silence` in the migrations), or None."""

    silent_since: datetime | None = None
    overdue_since: datetime | None = None


class HeldExecution(NamedTuple):
    """One row of `executions`, its body still JSON text (see `milepost.projections.body`)."""

    tenant: str
    state: str
    version: int
    requested: bool
    body: str
    silence: Silence
    lag: tuple[PartitionLag, ...]


class Standing(NamedTuple):
    """Where an execution stands."""

    execution_id: str
    tenant: str
    state: str
    version: int


async def execution(
    connection: Connection,
    execution_id: str,
    tenant: str | None,
    topic: str,
    heartbeats: Heartbeats = NO_HEARTBEATS,
    now: datetime | None = None,
) -> HeldExecution | None:
    """What the fold holds of an execution; without a tenant, the one whose request is known.

    How silent it is, is judged at `now`, by default the database's clock.
    """
    row = await connection.fetchrow(
        statement("execution"), execution_id, tenant, topic, heartbeats_json(heartbeats), now
    )
    if row is None:
        return None
    owner, state, version, requested, body, silent_since, overdue_since, *lags = row
    silence = Silence(silent_since, overdue_since)
    return HeldExecution(owner, state, version, requested, body, silence, rows(*lags))


def heartbeats_json(heartbeats: Heartbeats) -> str:
    """As the statements take them."""
    return orjson.dumps(dict(heartbeats)).decode()


async def versions(connection: Connection, execution_ids: Sequence[str]) -> list[Standing]:
    """Where these executions stand, of several tenants first the one whose request is known."""
    rows = await connection.fetch(statement("versions"), execution_ids)
    return [Standing(str(row[0]), *row[1:]) for row in rows]
