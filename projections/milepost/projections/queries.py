"""What the API reads, and its ledger of requests: one function a statement of `sql/`.

Every function works on the connection it is given, which decides what is visible (row-level security
by `milepost.tenant`). All raise asyncpg.PostgresError, OSError or TimeoutError where the database does.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple, TypeAlias
from uuid import UUID

import asyncpg
import orjson

from milepost.projections.outgoing import unpack_headers
from milepost.projections.statements import statement
from milepost.schemas.binding import Event, Headers, decode, microseconds
from milepost.schemas.events import Progressed
from milepost.schemas.values import LogLine

# asyncpg-stubs makes both generic in the record class.
Connection: TypeAlias = (
    "asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
)

READ: Final = (
    "execution",
    "lag",
    "versions",
    "execution_events",
    "execution_logs",
    "executions_oldest_first",
    "executions_newest_first",
    "tenant_summary",
    "tenant_resources",
    "resources_by_id",
    "request",
    "request_insert",
    "request_published",
    "requests_unpublished",
)


class PartitionLag(NamedTuple):
    """How many records the fold of one partition had not folded, and when that was measured.

    Both are None until a processor has reported the end of the partition. `problem` says why it is
    not being folded, None while it is.
    """

    partition: int
    behind: int | None
    measured_at: datetime | None
    problem: str | None


class HeldExecution(NamedTuple):
    """One row of `executions`, its body still JSON text (see `milepost.projections.body`)."""

    tenant: str
    state: str
    version: int
    requested: bool
    body: str
    lag: tuple[PartitionLag, ...]


class Standing(NamedTuple):
    """Where an execution stands."""

    execution_id: str
    tenant: str
    state: str
    version: int


class Request(NamedTuple):
    """A row of the ledger: the `requested` event that the API accepted, and when the broker had it.

    The event has no place in the log yet (partition and offset are -1).
    """

    tenant: str
    execution_id: str
    fingerprint: str
    event: Event
    created_at: datetime
    published_at: datetime | None


class LoggedEvent(NamedTuple):
    """What became of one raw record of an execution."""

    ordinal: int
    topic: str
    partition: int
    offset: int
    type: str
    source: str
    event_id: str
    disposition: str
    reason: str | None
    occurred_at: datetime
    recorded_at: datetime


class LoggedLine(NamedTuple):
    """One log line: which (from 0) of the lines of the event whose record has this ordinal."""

    ordinal: int
    number: int
    event: Event
    line: LogLine


class ListedExecution(NamedTuple):
    """One row of a tenant's list, its body still JSON text."""

    execution_id: str
    first_recorded_at: datetime
    body: str


class Summary(NamedTuple):
    """A tenant's executions by state, and the last one to succeed and to fail."""

    pending: int
    running: int
    succeeded: int
    failed: int
    cancelled: int
    last_success_at: datetime | None
    last_success: UUID | None
    last_failure_at: datetime | None
    last_failure: UUID | None


class ReportedResource(NamedTuple):
    """One resource as one execution reports it; `provider` is the execution's unless it named one.

    `own_provider` and `region` are empty where the report has none: they are part of the key.
    """

    own_provider: str
    region: str
    kind: str
    id: str
    execution_id: UUID
    tenant: str
    provider: str | None
    status: str | None
    released: bool
    attributes: dict[str, Any] | None
    occurred_at: datetime
    recorded_at: datetime


# (provider, region, kind, id, execution id) and (tenant, provider, region, execution id)
TenantResourceKey = tuple[str, str, str, str, UUID]
ResourceByIdKey = tuple[str, str, str, UUID]


async def verify(connection: Connection) -> None:
    """Raise asyncpg.PostgresError unless every statement fits the schema, e.g. before a migration."""
    for name in READ:
        await connection.prepare(statement(name))


async def execution(
    connection: Connection, execution_id: str, tenant: str | None, topic: str
) -> HeldExecution | None:
    """What the fold holds of an execution; without a tenant, the one whose request is known."""
    row = await connection.fetchrow(statement("execution"), execution_id, tenant, topic)
    if row is None:
        return None
    owner, state, version, requested, body, *lags = row
    return HeldExecution(owner, state, version, requested, body, _lag(*lags))


async def lag(connection: Connection, topic: str) -> tuple[PartitionLag, ...]:
    """How far the fold of each partition of `topic` is behind."""
    row = await connection.fetchrow(statement("lag"), topic)
    return _lag(*row) if row else ()


def _lag(*columns: list[Any] | None) -> tuple[PartitionLag, ...]:
    # Without rows array_agg gives null.
    return tuple(map(PartitionLag, *(column or () for column in columns)))


async def versions(connection: Connection, execution_ids: Sequence[str]) -> list[Standing]:
    """Where these executions stand, of several tenants first the one whose request is known."""
    rows = await connection.fetch(statement("versions"), execution_ids)
    return [Standing(str(row[0]), *row[1:]) for row in rows]


async def execution_events(
    connection: Connection, execution_id: str, tenant: str, after: int, limit: int
) -> list[LoggedEvent]:
    """The records of an execution with an ordinal above `after`, in the order of folding."""
    rows = await connection.fetch(statement("execution_events"), execution_id, tenant, after, limit)
    return [LoggedEvent(*row) for row in rows]


async def execution_logs(
    connection: Connection, execution_id: str, tenant: str, after: tuple[int, int], limit: int
) -> list[LoggedLine]:
    """At most `limit` log lines after the line (ordinal, number), in the order of folding."""
    # One record more than lines: those up to `after` in the first record do not count.
    rows = await connection.fetch(
        statement("execution_logs"), execution_id, tenant, after[0], limit + after[1] + 1
    )
    lines = [
        LoggedLine(row["ordinal"], number, event, line)
        for row in rows
        if isinstance(event := decode(_Raw(*row[1:])), Event) and isinstance(event.data, Progressed)
        for number, line in enumerate(event.data.log_lines or ())
        if (row["ordinal"], number) > after
    ]
    return lines[:limit]


async def executions(
    connection: Connection,
    tenant: str,
    *,
    newest_first: bool,
    after: tuple[datetime, UUID],
    limit: int,
    state: str | None,
    operation: str | None,
    provider: str | None,
) -> list[ListedExecution]:
    """A tenant's executions beyond the key (first recorded time, id) of the last one seen."""
    name = "executions_newest_first" if newest_first else "executions_oldest_first"
    rows = await connection.fetch(
        statement(name), tenant, *after, limit, state, operation, provider
    )
    return [ListedExecution(str(row[0]), *row[1:]) for row in rows]


async def tenant_summary(connection: Connection, tenant: str) -> Summary:
    """A tenant's counts; all zero where nothing is known of it."""
    [row] = await connection.fetch(statement("tenant_summary"), tenant)
    return Summary(*row)


async def tenant_resources(
    connection: Connection,
    tenant: str,
    *,
    after: TenantResourceKey,
    limit: int,
    kind: str | None,
    released: bool | None,
) -> list[ReportedResource]:
    """What a tenant's executions report of resources, beyond the key of the last one seen."""
    rows = await connection.fetch(
        statement("tenant_resources"), tenant, *after, limit, kind, released
    )
    return [_resource(row) for row in rows]


async def resources_by_id(
    connection: Connection, kind: str, resource_id: str, *, after: ResourceByIdKey, limit: int
) -> list[ReportedResource]:
    """Which executions report this resource, beyond the key of the last one seen."""
    rows = await connection.fetch(statement("resources_by_id"), kind, resource_id, *after, limit)
    return [_resource(row) for row in rows]


def _resource(row: asyncpg.Record) -> ReportedResource:
    resource = ReportedResource(*row)
    if row["attributes"] is None:
        return resource
    return resource._replace(attributes=orjson.loads(row["attributes"]))


async def note_request(
    connection: Connection,
    *,
    tenant: str,
    execution_id: str,
    fingerprint: str,
    event_id: str,
    headers: bytes,
    value: bytes,
) -> bool:
    """Note a request before it is published; False where the execution has one already."""
    created_at = await connection.fetchval(
        statement("request_insert"), tenant, execution_id, fingerprint, event_id, headers, value
    )
    return created_at is not None


async def request(connection: Connection, execution_id: str, tenant: str | None) -> Request | None:
    """The request that the API accepted for this execution."""
    row = await connection.fetchrow(statement("request"), execution_id, tenant)
    return _request(row) if row else None


async def requests_unpublished(
    connection: Connection, older_than: timedelta, limit: int
) -> list[Request]:
    """Requests that nobody has published, locked until the transaction ends, oldest first."""
    rows = await connection.fetch(statement("requests_unpublished"), older_than, limit)
    return [_request(row) for row in rows]


async def mark_published(connection: Connection, published: Sequence[Request]) -> None:
    """Note that the broker has these requests."""
    await connection.execute(
        statement("request_published"),
        [sent.execution_id for sent in published],
        [sent.tenant for sent in published],
    )


def _request(row: asyncpg.Record) -> Request:
    tenant, execution_id, fingerprint, headers, value, created_at, published_at = row
    key = str(execution_id).encode()
    event = decode(_Raw("", -1, -1, created_at, key, headers, value))
    assert isinstance(event, Event), event
    return Request(tenant, str(execution_id), fingerprint, event, created_at, published_at)


class _Raw:
    """A record as stored: `headers` packed, the time a datetime."""

    def __init__(
        self,
        topic: str,
        partition: int,
        offset: int,
        recorded_at: datetime,
        key: bytes | None,
        headers: bytes,
        value: bytes | None,
    ) -> None:
        self.topic = topic
        self.partition = partition
        self.offset = offset
        self.timestamp = microseconds(recorded_at) // 1_000
        self.key = key
        self.headers: Headers = unpack_headers(headers)
        self.value = value
