"""One execution, or several by their ids: as the fold holds them now."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Final, NamedTuple, TypeAlias

import asyncpg
import orjson

from milepost.projections.queries.positions import PartitionLag
from milepost.projections.queries.positions import rows as lag_rows
from milepost.projections.queries.records import Connection
from milepost.projections.queries.requests import Request, read_request
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
    """One row of `executions`, its body still JSON text (see `milepost.projections.body`).

    `lag` is there where one was looked for.
    """

    tenant: str
    state: str
    version: int
    requested: bool
    body: str
    silence: Silence
    lag: tuple[PartitionLag, ...] = ()


class LeftOut(NamedTuple):
    """An execution that was not read because those before it filled the answer."""


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
    return _held(row)._replace(lag=lag_rows(*row[7:]))


def _held(row: asyncpg.Record) -> HeldExecution:
    owner, state, version, requested, body, silent_since, overdue_since = row[:7]
    silence = Silence(silent_since, overdue_since)
    return HeldExecution(owner, state, version, requested, body, silence)


async def executions_named(
    connection: Connection,
    execution_ids: Sequence[str],
    tenant: str | None,
    heartbeats: Heartbeats = NO_HEARTBEATS,
    now: datetime | None = None,
) -> list[HeldExecution | Request | LeftOut | None]:
    """What there is of each of these executions: as the fold holds it, else as the API accepted it.

    LeftOut after 16 MiB of them. Otherwise as `execution`.
    """
    rows = await connection.fetch(
        statement("executions_named"), execution_ids, tenant, heartbeats_json(heartbeats), now
    )
    return [_named(row) for row in rows]


def _named(row: asyncpg.Record) -> HeldExecution | Request | LeftOut | None:
    if row["left_out"] and (row["tenant"] or row["noted_for"]):
        return LeftOut()
    if row["tenant"]:
        return _held(row)
    return read_request(row[7:14]) if row["noted_for"] else None


def heartbeats_json(heartbeats: Heartbeats) -> str:
    """As the statements take them."""
    return orjson.dumps(dict(heartbeats)).decode()


async def versions(connection: Connection, execution_ids: Sequence[str]) -> list[Standing]:
    """Where these executions stand, of several tenants first the one whose request is known."""
    rows = await connection.fetch(statement("versions"), execution_ids)
    return [Standing(str(row[0]), *row[1:]) for row in rows]
