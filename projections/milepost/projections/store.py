"""Writes one batch in one transaction: executions and links, resources, activity, log, position.

The tables are always written in this order and rows in the order of their keys. Offsets live here
only: a record below the position has been folded and is dropped, whoever hands it over again.
"""

import random
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar

import asyncpg
import orjson
import stamina
import structlog
from asyncpg.exceptions import (
    DataError,
    DeadlockDetectedError,
    InterfaceError,
    InternalClientError,
    LockNotAvailableError,
    PostgresError,
    SerializationError,
)
from asyncpg.pool import PoolConnectionProxy

from milepost.projections import body
from milepost.projections.batch import Decoded, Folded, Identity, LogRow, fold, identities
from milepost.projections.execution import Execution
from milepost.projections.link import LinkRow
from milepost.projections.outgoing import Outgoing, pack_headers, unpack
from milepost.projections.resource import ResourceRow
from milepost.projections.statements import statement
from milepost.projections.tenant import STATES, Activity
from milepost.schemas.binding import Record, Rejection
from milepost.schemas.topics import Topics
from milepost.schemas.values import TERMINAL

T = TypeVar("T")
Connection = asyncpg.Connection | PoolConnectionProxy

ATTEMPTS: Final = 8
# Postgres counts from 2000, the contract from 1970; both in microseconds.
_POSTGRES_EPOCH: Final = 946_684_800_000_000
_EXECUTION_COLUMNS: Final = (
    "execution_id", "tenant", "state", "version", "ordinal", "operation", "provider", "labels",
    "first_recorded_at", "recorded_at", "ended_at", "body",
)  # fmt: skip
_LINK_COLUMNS: Final = ("tenant", "target", "first_recorded_at", "execution_id", "relation")

# A stopped worker must not hold a partition, and a plan must not depend on when statistics were taken:
# every join here is by primary key.
SESSION: Final = {
    "application_name": "milepost-processor",
    "transaction_timeout": "10s",
    "idle_in_transaction_session_timeout": "5s",
    "lock_timeout": "4s",
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_seqscan": "off",
    "jit": "off",
}

_log: Final = structlog.get_logger(__name__)


class Fenced(Exception):
    """Another worker has taken the partition over; drop what is held of it."""


class OffsetGap(Exception):
    """Records between the position and the batch are missing; nothing may be guessed."""


class Conflict(Exception):
    """An execution changed between reading and writing: another partition carries its events too."""


class Position(NamedTuple):
    """What Postgres says of a partition: the epoch of its owner and the next offset to fold.

    `relayed` is the last relay offset known to be committed, None if none is.
    """

    epoch: int
    next_offset: int
    relayed: int | None


class LastFolded(NamedTuple):
    """The last record of a partition that was folded, as it was when it was read."""

    offset: int
    recorded_at: int
    key: bytes | None
    headers: bytes
    value: bytes | None

    def is_(self, record: Record | None) -> bool:
        """Whether this record of the broker is that one."""
        return record is not None and self == (
            record.offset,
            record.timestamp * 1_000,
            record.key,
            pack_headers(record.headers),
            record.value,
        )


@dataclass(frozen=True)
class Batch:
    """Decoded records of one partition, from where their fetch began up to, without, `next_offset`."""

    topic: str
    partition: int
    from_offset: int
    next_offset: int
    decoded: Sequence[Decoded]


class Written(NamedTuple):
    """A committed batch: what is to be relayed for the offsets from `from_offset` to `next_offset`.

    `log` are the rows of its records, folding took `fold_seconds` of the transaction.
    """

    from_offset: int
    next_offset: int
    log: list[LogRow]
    outgoing: list[Outgoing]
    fold_seconds: float

    @property
    def records(self) -> int:
        """How many records there were."""
        return len(self.log)


async def connect(dsn: str, *, size: int) -> asyncpg.Pool:
    """A pool for the processor: times are microseconds since 1970, JSON is bytes."""
    return await asyncpg.create_pool(
        dsn, min_size=1, max_size=size, init=codecs, reset=_keep, server_settings=SESSION,
        command_timeout=15,
    )  # fmt: skip


async def _keep(connection: asyncpg.Connection) -> None:
    """Nothing of a session outlives its transaction here: to reset it is a round trip a batch."""


async def codecs(connection: asyncpg.Connection) -> None:
    """Make this connection give and take times as microseconds since 1970, JSON as bytes."""
    await connection.set_type_codec(
        "timestamptz",
        schema="pg_catalog",
        format="tuple",
        encoder=lambda moment: (moment - _POSTGRES_EPOCH,),
        decoder=lambda moment: moment[0] + _POSTGRES_EPOCH,
    )
    await connection.set_type_codec(
        "json", schema="pg_catalog", format="binary", encoder=bytes, decoder=bytes
    )


class Store:
    """The projections of one events topic, as the owner of some of its partitions writes them."""

    def __init__(self, pool: asyncpg.Pool, topics: Topics) -> None:
        self._pool = pool
        self._topics = topics

    async def acquire(self, topic: str, partition: int, beginning: int) -> Position:
        """Take a partition over, fencing its owner; a new one starts at `beginning`.

        An owner that stopped in the middle of a batch is waited for until its session is ended.
        """

        async def take() -> asyncpg.Record:
            try:
                row = await self._pool.fetchrow(
                    statement("acquire_position"), topic, partition, beginning
                )
            except LockNotAvailableError:
                await self._pool.execute(statement("end_overdue_sessions"))
                raise
            assert row is not None, "the statement returns the row it wrote"
            return row

        row = await _persistently(take)
        return Position(row["epoch"], row["next_offset"], row["relayed"])

    async def check_owner(self, topic: str, partition: int, epoch: int) -> None:
        """Raise Fenced unless `epoch` still owns the partition."""
        if await self._pool.fetchval(statement("position_epoch"), topic, partition) != epoch:
            raise Fenced(f"{topic}/{partition} has another owner")

    async def last_folded(self, topic: str, partition: int, position: int) -> LastFolded | None:
        """The last record below the position; None where the log has none."""
        row = await self._pool.fetchrow(statement("last_folded"), topic, partition, position)
        return None if row is None else LastFolded(*row)

    async def emitted_between(
        self, topic: str, partition: int, start: int, end: int, limit: int
    ) -> list[tuple[int, list[Outgoing]]]:
        """At most `limit` records that caused something to be sent out: offset and what."""
        rows = await self._pool.fetch(
            statement("emitted_between"), topic, partition, start, end, limit
        )
        return [(row["offset"], unpack(row["emitted"])) for row in rows]

    async def report_ends(self, topic: str, ends: dict[int, int]) -> None:
        """Write the broker's end offsets by partition, with the time."""
        partitions = sorted(ends)
        await self._pool.execute(
            statement("report_ends"), topic, partitions, [ends[number] for number in partitions]
        )

    async def report_problem(self, topic: str, partition: int, problem: str) -> None:
        """Say why a partition is not being folded."""
        await self._pool.execute(statement("report_problem"), topic, partition, problem)

    async def write(self, batch: Batch, epoch: int, relayed: int | None) -> Written:
        """Fold what is left of a batch and commit it, whatever happened to earlier attempts.

        Raises Fenced, OffsetGap, or what went wrong `ATTEMPTS` times in a row. Records that Postgres
        refuses are found by halving and quarantined as `unstorable`.
        """
        unstorable: set[int] = set()
        while True:
            try:
                write = partial(self._write_once, batch, epoch, relayed, unstorable)
                return await _persistently(write)
            except (DataError, UnicodeError) as error:
                unstorable.add(await self._refused(batch, epoch, unstorable, error))

    async def _write_once(
        self, batch: Batch, epoch: int, relayed: int | None, unstorable: Collection[int]
    ) -> Written:
        async with self._pool.acquire() as connection, connection.transaction():
            return await self._transact(connection, batch, epoch, relayed, unstorable)

    async def _transact(
        self,
        connection: Connection,
        batch: Batch,
        epoch: int,
        relayed: int | None,
        unstorable: Collection[int],
    ) -> Written:
        position = await self._lock(connection, batch, epoch)
        decoded = _left(batch, position, unstorable)
        held = await load_executions(connection, identities(decoded))
        started = time.perf_counter()
        folded = fold(decoded, held, self._topics)
        fold_seconds = time.perf_counter() - started
        await write_rows(connection, batch.topic, batch.partition, folded)
        next_offset = max(batch.next_offset, position)
        recorded = folded.log[-1].recorded_at if folded.log else None
        await connection.execute(
            statement("advance_position"),
            batch.topic, batch.partition, next_offset, recorded, relayed,
        )  # fmt: skip
        return Written(position, next_offset, folded.log, folded.outgoing, fold_seconds)

    async def _lock(self, connection: Connection, batch: Batch, epoch: int) -> int:
        row = await connection.fetchrow(statement("lock_position"), batch.topic, batch.partition)
        if row is None or row["epoch"] != epoch:
            raise Fenced(f"{batch.topic}/{batch.partition} has another owner")
        position: int = row["next_offset"]
        if batch.from_offset > position:
            raise OffsetGap(
                f"{batch.topic}/{batch.partition}: Postgres expects offset {position},"
                f" Kafka handed over from {batch.from_offset}"
            )
        return position

    async def _refused(
        self, batch: Batch, epoch: int, unstorable: Collection[int], error: Exception
    ) -> int:
        """The offset of one record that Postgres refuses, found by trying halves without committing."""
        suspects = [
            decoded.record.offset
            for decoded in batch.decoded
            if decoded.record.offset not in unstorable
        ]
        while len(suspects) > 1:
            half = suspects[: len(suspects) // 2]
            # Everything before the suspects is known to be fine or is already set aside.
            refuses = partial(self._refuses, batch, epoch, unstorable, half[-1] + 1)
            refused = await _persistently(refuses)
            suspects = half if refused else suspects[len(half) :]
        if not suspects:
            raise error
        _log.warning(
            "unstorable", topic=batch.topic, partition=batch.partition, offset=suspects[0],
            error=type(error).__name__,
        )  # fmt: skip
        return suspects[0]

    async def _refuses(
        self, batch: Batch, epoch: int, unstorable: Collection[int], end: int
    ) -> bool:
        """Whether Postgres refuses the batch up to, without, offset `end`."""
        decoded = [item for item in batch.decoded if item.record.offset < end]
        part = Batch(batch.topic, batch.partition, batch.from_offset, end, decoded)
        async with self._pool.acquire() as connection:
            transaction = connection.transaction()
            await transaction.start()
            try:
                await self._transact(connection, part, epoch, None, unstorable)
            except (DataError, UnicodeError):
                return True
            finally:
                await transaction.rollback()
        return False


async def _persistently(operation: Callable[[], Awaitable[T]]) -> T:
    """One path for conflicts, deadlocks, lost connections and commits of unknown outcome.

    Each attempt forgets what was read, reads the position again and folds what is left.
    """
    async for attempt in stamina.retry_context(
        on=_may_pass, attempts=ATTEMPTS, timeout=30, wait_initial=0.1, wait_max=2.0, wait_jitter=0.1
    ):
        with attempt:
            return await operation()
    raise AssertionError("unreachable: the retries end by returning or raising")


def _may_pass(error: Exception) -> bool | float:
    """Whether trying again may help, or in how many seconds: all of the connection or of concurrency."""
    if isinstance(error, Fenced | OffsetGap | DataError):
        return False
    if isinstance(error, Conflict | DeadlockDetectedError | SerializationError):
        # Whoever was in the way has committed.
        return random.uniform(0, 0.02)
    # InternalClientError: how asyncpg answers where the server ended an idle connection.
    return isinstance(
        error, PostgresError | InterfaceError | InternalClientError | OSError | TimeoutError
    )


def _left(batch: Batch, position: int, unstorable: Collection[int]) -> list[Decoded]:
    left = [item for item in batch.decoded if item.record.offset >= position]
    if not unstorable:
        return left
    refusal = Rejection("unstorable", "value", "Postgres refuses a value of this record")
    return [
        item._replace(event=refusal) if item.record.offset in unstorable else item for item in left
    ]


async def load_executions(
    connection: Connection, wanted: Sequence[Identity]
) -> dict[Identity, Execution]:
    """What is held of these executions."""
    if not wanted:
        return {}
    ids, tenants = zip(*wanted, strict=True)
    rows = await connection.fetch(statement("load_executions"), ids, tenants)
    loaded = (body.load(row["body"]) for row in rows)
    return {(execution.execution_id, execution.tenant): execution for execution in loaded}


async def write_rows(connection: Connection, topic: str, partition: int, folded: Folded) -> None:
    """Write what one batch was folded to, all but the position. Raises Conflict."""
    await _write_executions(connection, folded.executions)
    await _write_links(connection, folded.links)
    await _write_resources(connection, folded.resources)
    await _write_activity(connection, topic, partition, folded.activity)
    await _write_log(connection, folded.log)


async def _write_executions(
    connection: Connection, changes: Sequence[tuple[Execution | None, Execution]]
) -> None:
    new = [execution_row(after) for before, after in changes if before is None]
    if new:
        await _copy(connection, "executions", _EXECUTION_COLUMNS, new)
    known = [(before, execution_row(after)) for before, after in changes if before is not None]
    if not known:
        return
    rows = [
        (row[0], row[1], before.ordinal, *row[2:8], row[9], row[10], row[11])
        for before, row in known
    ]
    status = await connection.execute(
        statement("update_executions"), *(list(column) for column in zip(*rows, strict=True))
    )
    if status != f"UPDATE {len(rows)}":
        raise Conflict(f"{status} of {len(rows)} executions")


def execution_row(execution: Execution) -> tuple[Any, ...]:
    """The row of `executions`, in the order of its columns."""
    request = execution.fact("request") or {}
    labels = execution.fact("labels")
    ended = execution.transitions[execution.state].key[0] if execution.state in TERMINAL else None
    return (
        execution.execution_id,
        execution.tenant,
        execution.state,
        execution.version,
        execution.ordinal,
        request.get("operation"),
        request.get("provider"),
        None if labels is None else orjson.dumps(labels),
        execution.first_recorded,
        execution.recorded,
        ended,
        body.dump(execution),
    )


async def _write_links(connection: Connection, rows: Sequence[LinkRow]) -> None:
    if rows:
        await _copy(connection, "execution_links", _LINK_COLUMNS, rows)


async def _write_resources(connection: Connection, rows: Sequence[ResourceRow]) -> None:
    if not rows:
        return
    encoded = [
        row._replace(attributes=None if row.attributes is None else orjson.dumps(row.attributes))
        for row in rows
    ]
    await connection.execute(
        statement("upsert_resources"), *(list(column) for column in zip(*encoded, strict=True))
    )


async def _write_activity(
    connection: Connection, topic: str, partition: int, tenants: Sequence[tuple[str, Activity]]
) -> None:
    if not tenants:
        return
    rows = [
        (
            tenant,
            *(activity.counts[state] for state in STATES),
            *(activity.last_success or (None, None)),
            *(activity.last_failure or (None, None)),
        )
        for tenant, activity in tenants
    ]
    await connection.execute(
        statement("add_activity"),
        topic,
        partition,
        *(list(column) for column in zip(*rows, strict=True)),
    )


async def _write_log(connection: Connection, rows: Sequence[LogRow]) -> None:
    if rows:
        await _copy(connection, "event_log", LogRow._fields, rows)


async def _copy(
    connection: Connection, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]
) -> None:
    try:
        await connection.copy_records_to_table(table, records=rows, columns=columns)
    except asyncpg.UniqueViolationError as error:
        raise Conflict(f"{table}: {error}") from error
