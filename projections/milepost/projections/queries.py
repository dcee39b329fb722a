"""What the API reads, and its ledger of requests: one function a statement of `sql/`.

Every function works on the connection it is given, which decides what is visible (row-level security
by `milepost.tenant`). All raise asyncpg.PostgresError, OSError or TimeoutError where the database does.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypeAlias
from uuid import UUID

import asyncpg
import orjson

from milepost.projections.outgoing import unpack_headers
from milepost.projections.statements import statement
from milepost.schemas.binding import Event, Headers, decode, microseconds
from milepost.schemas.events import Progressed
from milepost.schemas.values import TERMINAL, LogLine

# asyncpg-stubs makes both generic in the record class.
Connection: TypeAlias = (
    "asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
)

# Seconds without an event after which an execution is silent where its request says nothing: by
# provider, and under "*" for all others.
Heartbeats: TypeAlias = Mapping[str, float]
NO_HEARTBEATS: Final[Heartbeats] = MappingProxyType({})

READ: Final = (
    "execution",
    "lag",
    "versions",
    "execution_events",
    "execution_logs",
    "raw_record",
    "folded_positions",
    "executions_oldest_first",
    "executions_newest_first",
    "in_flight_oldest_first",
    "in_flight_newest_first",
    "linked_oldest_first",
    "linked_newest_first",
    "linked_states",
    "linking_executions",
    "tenant_summary",
    "tenant_resources",
    "resources_in_use",
    "resource_history",
    "orphans",
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
    silence: Silence


class Wanted(NamedTuple):
    """Which of a tenant's executions; None: whatever it is. `link` is (relation, target)."""

    state: str | None = None
    operation: str | None = None
    provider: str | None = None
    silent: bool | None = None
    overdue: bool | None = None
    link: tuple[str, str] | None = None

    @property
    def in_flight(self) -> bool:
        """Whether only executions that are not over can be among them."""
        is_open = self.state is not None and self.state not in TERMINAL
        return bool(is_open or self.silent or self.overdue)


class LinkedExecution(NamedTuple):
    """The execution at the other end of a link; all but its id None where it is not known."""

    relation: str
    execution_id: UUID
    first_recorded_at: datetime | None
    operation: str | None
    state: str | None


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
    last_failure_code: str | None
    last_failure_message: str | None


class ReportedResource(NamedTuple):
    """One resource as one execution reports it; `provider` is the execution's unless it named one.

    `own_provider` and `region` are empty where the report has none: they are part of the key.
    `action`, in a history: made, changed or released.
    """

    own_provider: str
    region: str
    kind: str
    id: str
    execution_id: UUID
    tenant: str
    operation: str | None
    state: str
    provider: str | None
    status: str | None
    released: bool
    attributes: dict[str, Any] | None
    occurred_at: datetime
    recorded_at: datetime
    action: str | None = None


# (provider, region, kind, id, execution id)
TenantResourceKey = tuple[str, str, str, str, UUID]
# (time of the report, tenant, provider, region, execution id)
ResourceHistoryKey = tuple[datetime, str, str, str, UUID]
# (first recorded time, execution id, relation)
LinkKey = tuple[datetime, UUID, str]


async def verify(connection: Connection) -> None:
    """Raise asyncpg.PostgresError unless every statement fits the schema, e.g. before a migration."""
    for name in READ:
        await connection.prepare(statement(name))


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
        statement("execution"), execution_id, tenant, topic, _json(heartbeats), now
    )
    if row is None:
        return None
    owner, state, version, requested, body, silent_since, overdue_since, *lags = row
    silence = Silence(silent_since, overdue_since)
    return HeldExecution(owner, state, version, requested, body, silence, _lag(*lags))


def _json(heartbeats: Heartbeats) -> str:
    return orjson.dumps(dict(heartbeats)).decode()


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
        if isinstance(event := decode(StoredRecord(*row[1:])), Event)
        and isinstance(event.data, Progressed)
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
    wanted: Wanted = Wanted(),  # noqa: B008 - immutable
    heartbeats: Heartbeats = NO_HEARTBEATS,
    now: datetime | None = None,
) -> list[ListedExecution]:
    """A tenant's executions beyond the key (first recorded time, id) of the last one seen.

    `heartbeats` and `now`: as for `execution`.
    """
    kind = "linked" if wanted.link else "in_flight" if wanted.in_flight else "executions"
    name = f"{kind}_newest_first" if newest_first else f"{kind}_oldest_first"
    *filters, link = wanted
    rows = await connection.fetch(
        statement(name), tenant, *after, limit, _json(heartbeats), now, *filters, *(link or ())
    )
    return [ListedExecution(str(row[0]), row[1], row[2], Silence(row[3], row[4])) for row in rows]


async def linked_states(
    connection: Connection, tenant: str, links: Sequence[tuple[str, str]]
) -> list[LinkedExecution]:
    """How the executions that one names in its links (relation, execution id) stand."""
    relations, ids = [relation for relation, _ in links], [target for _, target in links]
    rows = await connection.fetch(statement("linked_states"), tenant, relations, ids)
    return [LinkedExecution(*row) for row in rows]


async def linking_executions(
    connection: Connection, tenant: str, execution_id: str, *, after: LinkKey, limit: int
) -> list[LinkedExecution]:
    """The executions that name this one in a link, beyond the key of the last one seen."""
    rows = await connection.fetch(
        statement("linking_executions"), tenant, execution_id, *after, limit
    )
    return [LinkedExecution(*row) for row in rows]


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


async def resources_in_use(connection: Connection, tenant: str) -> int:
    """How many resources a tenant has now."""
    count: int = await connection.fetchval(statement("resources_in_use"), tenant)
    return count


async def resource_history(
    connection: Connection,
    kind: str,
    resource_id: str,
    *,
    after: ResourceHistoryKey,
    limit: int,
    provider: str | None = None,
    region: str | None = None,
) -> list[ReportedResource]:
    """What executions did with this resource in the order of time, beyond the key of the last one seen."""
    rows = await connection.fetch(
        statement("resource_history"), kind, resource_id, provider, region, *after, limit
    )
    return [_resource(row) for row in rows]


async def orphans(
    connection: Connection, tenant: str, *, after: TenantResourceKey, limit: int
) -> list[ReportedResource]:
    """What failed and cancelled executions left behind, beyond the key of the last one seen."""
    rows = await connection.fetch(statement("orphans"), tenant, *after, limit)
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
    event = decode(StoredRecord("", -1, -1, created_at, key, headers, value))
    assert isinstance(event, Event), event
    return Request(tenant, str(execution_id), fingerprint, event, created_at, published_at)


class StoredRecord:
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
