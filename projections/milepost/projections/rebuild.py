"""Folds `event_log` into a new generation of the projection tables, beside the live one.

Every execution is folded by itself, over its records in the order of their ordinals, from the raw
records as stored. First all of them in chunks of ids; then, again and again, those that got records
meanwhile; the last ones in the transaction that switches, while processors wait. Nothing is sent out.
An execution whose log is incomplete is carried over as it is.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple
from uuid import UUID

import asyncpg
import structlog
from asyncpg.exceptions import (
    DeadlockDetectedError,
    InterfaceError,
    InternalClientError,
    LockNotAvailableError,
    PostgresError,
    QueryCanceledError,
)

from milepost.projections import generation, refold
from milepost.projections.batch import Identity, settled
from milepost.projections.comparison import Comparison, Difference
from milepost.projections.execution import FOLD_VERSION
from milepost.projections.generation import GenerationError
from milepost.projections.refold import Chunk
from milepost.projections.statements import statement
from milepost.projections.store import (
    SESSION,
    Connection,
    codecs,
    execution_row,
    load_executions,
    write_rows,
)
from milepost.schemas.binding import Event

CHUNK: Final = 5_000  # records, and what is left of the last execution
BLOCK: Final = 1_000  # records that are held in memory at once
# So many executions left to fold are folded while processors wait.
FEW: Final = 200
ROUNDS: Final = 30
ATTEMPTS: Final = 10

# One number for all of Milepost's rebuilds ('fold' in ASCII).
_LOCK: Final = 0x666F6C64
# What a rebuild counts is a row of its own in `tenant_activity`: only sums over a tenant mean something.
_TOPIC: Final = ""
_PARTITION: Final = -1
_FIRST, _LAST = UUID(int=0), UUID(int=2**128 - 1)
_SESSION: Final = {
    **SESSION,
    "application_name": "milepost-rebuild",
    # Chunks and indexes take their time; a stopped rebuild must still not keep processors waiting.
    "transaction_timeout": "0",
    "idle_in_transaction_session_timeout": "20s",
    # Until the switch there is nothing to lose.
    "synchronous_commit": "off",
    "enable_hashjoin": "on",
    "enable_mergejoin": "on",
}

_log: Final = structlog.get_logger(__name__)

# (topic, partition, next offset) of every partition.
Positions = Sequence[tuple[str, int, int]]


class RebuildRunning(GenerationError):
    """Somebody else is rebuilding or rolling back the projections of this database, or archiving its log."""


class ReadersInTheWay(GenerationError):
    """The live tables were never free for the moment of the switch."""


class Progress(NamedTuple):
    """How far a rebuild is: records folded, and about how many there are."""

    step: str
    records: int
    total: int


Report = Callable[[Progress], None]


@dataclass
class Result:
    """What a rebuild, a comparison or a rollback came to.

    `carried_over` are executions whose log is incomplete; `quarantined` counts records that are events
    by now, and that nothing was done about. `generation` is the live one; to switch to it kept
    processors and readers waiting for so many seconds.
    """

    records: int = 0
    executions: int = 0
    carried_over: int = 0
    seconds: float = 0.0
    processors_waited: float | None = None
    readers_waited: float | None = None
    live_hash: str | None = None
    folded_hash: str | None = None
    differing: int = 0
    differences: list[Difference] = field(default_factory=list)
    tenants: list[str] = field(default_factory=list)
    resources: list[Difference] = field(default_factory=list)
    dispositions: int = 0
    quarantined: int = 0
    generation: int | None = None

    @property
    def equal(self) -> bool:
        """Whether the live tables say what the log says."""
        return self.live_hash == self.folded_hash and not self.tenants and not self.resources


async def rebuild(dsn: str, report: Report = lambda _: None) -> Result:
    """Fold the log into a new generation and make it the live one; the one before it is kept.

    Raises RebuildRunning, ReadersInTheWay, generation.NoGeneration when a migration came in between,
    or what asyncpg raises. Until the switch, which happens wholly or not at all, nothing that is live
    is touched; what an interrupted rebuild leaves behind is dropped by the next.
    """
    async with _alone(dsn, generation.NEXT) as connection, _session(dsn, generation.NEXT) as reader:
        try:
            await generation.create(connection)
            run = _Rebuild(reader, connection, report)
            noted = await run.fold_all()
            for table in generation.TABLES:
                await connection.execute(f"ANALYZE {generation.NEXT}.{table}")
            await run.follow_and_switch(noted, generation.NEXT, FOLD_VERSION)
            return run.result()
        finally:
            await _leave_nothing(connection)


async def is_running(connection: Connection) -> bool:
    """Whether somebody rebuilds or rolls back the projections of this database now."""
    running: bool = await connection.fetchval(statement("rebuild_running"), _LOCK)
    return running


async def verify(dsn: str, report: Report = lambda _: None) -> Result:
    """Compare the live tables with what the log says; locks and writes nothing. Raises what asyncpg does."""
    # Not the tables of a rebuild that may be running.
    async with _session(dsn, "public") as reader:
        run = _Rebuild(reader, None, report)
        await run.fold_all()
        report(Progress("comparing", run.records, run.total))
        return await run.look_across_tables()


async def rollback(dsn: str, report: Report = lambda _: None) -> Result:
    """Go back to the generation before the live one, with what has been recorded since.

    The live one is kept, so that this can be taken back. Raises as `rebuild` does, and
    generation.NoGeneration where there is none.
    """
    schema = generation.PREVIOUS
    async with _alone(dsn, schema) as connection, _session(dsn, schema) as reader:
        _, fold_version = await generation.previous(connection)
        run = _Rebuild(reader, connection, report)
        noted = await _positions(reader, "switched_positions")
        await run.follow_and_switch(noted, schema, fold_version)
        result = run.result()
        result.live_hash = result.folded_hash = None  # of a few executions only
        return result


@asynccontextmanager
async def _session(dsn: str, schema: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection whose unqualified names are the tables of the generation in `schema`."""
    settings = {**_SESSION, "search_path": f"{schema}, public"}
    connection = await asyncpg.connect(dsn, server_settings=settings)
    try:
        await codecs(connection)
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def _alone(dsn: str, schema: str) -> AsyncIterator[asyncpg.Connection]:
    async with _session(dsn, schema) as connection:
        await exclude_others(connection)
        yield connection


async def exclude_others(connection: Connection) -> None:
    """Keep rebuilds, rollbacks and the archiving of the log away until the session ends, however it
    does. Raises RebuildRunning."""
    if not await connection.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK):
        raise RebuildRunning(
            "another rebuild or rollback of these projections is running, or months of the log are"
            " being archived: run it again once that has ended"
        )


async def _leave_nothing(connection: Connection) -> None:
    """Drop what was not switched to; where that cannot be, the next rebuild does it."""
    try:
        try:
            await generation.discard(connection)
        except QueryCanceledError:
            # Meant for the statement that was interrupted, which had ended by itself.
            await generation.discard(connection)
    except (PostgresError, InterfaceError, InternalClientError, OSError) as error:
        _log.warning("left_behind", schema=generation.NEXT, error=repr(error))


class _Rebuild:
    """One run: reads by one connection and writes by another (None: only compares)."""

    def __init__(
        self, reader: Connection, writer: asyncpg.Connection | None, report: Report
    ) -> None:
        self.records = 0
        self.total = 0
        self._reader = reader
        self._writer = writer
        self._report = report
        self._comparison = Comparison()
        self._result = Result()
        self._began = time.perf_counter()

    async def fold_all(self) -> Positions:
        """Fold every execution; the positions from which on there may be more."""
        noted = await _positions(self._reader, "noted_positions")
        self.total = await self._reader.fetchval(statement("records_folded"))
        await self._look_into_quarantine()
        first: UUID | None = _FIRST
        writing: asyncio.Future[None] | None = None
        try:
            while first is not None:
                async with _snapshot(self._reader):
                    chunk, first = await self._read_chunk(first)
                # One chunk is written while the next one is read.
                if writing is not None:
                    await writing
                self._settle(chunk)
                writing = asyncio.ensure_future(self._write(chunk))
            assert writing is not None
            await writing
        finally:
            if writing is not None:
                writing.cancel()
                await asyncio.gather(writing, return_exceptions=True)
        return noted

    async def follow_and_switch(self, noted: Positions, schema: str, fold_version: int) -> None:
        """Catch up with the log, then switch. Raises ReadersInTheWay."""
        assert self._writer is not None
        for attempt in range(ATTEMPTS):
            noted = await self._follow(noted)
            counted = replace(self._result), self._comparison.copy(), self.records
            try:
                await self._switch(self._writer, noted, schema, fold_version)
            except (LockNotAvailableError, DeadlockDetectedError) as error:
                # What it folded is rolled back.
                self._result, self._comparison, self.records = counted
                _log.warning("switch_postponed", attempt=attempt + 1, error=str(error))
                await asyncio.sleep(attempt)
            else:
                return
        raise ReadersInTheWay(
            f"the switch was tried {ATTEMPTS} times, but somebody keeps a lock on the projection tables"
            " (pg_stat_activity shows long transactions); nothing was changed"
        )

    async def look_across_tables(self) -> Result:
        """What does not agree between the live tables themselves, each look a moment of its own."""
        for row in await self._reader.fetch(statement("activity_differences")):
            self._result.tenants.append(row["tenant"])
        for row in await self._reader.fetch(statement("resource_differences")):
            self._result.resources.append(Difference(row["tenant"], row["id"], "resources"))
        return self.result()

    def result(self) -> Result:
        """What has come of it so far."""
        result, comparison = self._result, self._comparison
        result.seconds = time.perf_counter() - self._began
        result.records = self.records
        result.live_hash, result.folded_hash = comparison.live_hash, comparison.folded_hash
        result.differing, result.differences = comparison.differing, comparison.differences
        return result

    async def _follow(self, noted: Positions) -> Positions:
        """Fold what has been recorded since, until little is left or it grows as fast."""
        for _ in range(ROUNDS):
            async with _snapshot(self._reader):
                positions = await _positions(self._reader, "noted_positions")
                touched = await _touched(self._reader, noted)
            if len(touched) <= FEW:
                break
            for start in range(0, len(touched), CHUNK):
                async with _snapshot(self._reader):
                    chunk = await self._read_named(self._reader, touched[start : start + CHUNK])
                self._settle(chunk)
                await self._write(chunk)
            noted = positions
        return noted

    async def _switch(
        self, connection: asyncpg.Connection, noted: Positions, schema: str, fold_version: int
    ) -> None:
        async with connection.transaction():
            await connection.execute("SET LOCAL synchronous_commit = on")
            await connection.execute(statement("lock_positions"))
            began = time.perf_counter()
            if touched := await _touched(connection, noted):
                chunk = await self._read_named(connection, touched)
                self._settle(chunk)
                await self._write(chunk)
            switched = await generation.prepare(connection, schema, fold_version)
            await generation.lock(connection)
            locked = time.perf_counter()
            await generation.move(connection)
        result, ended = self._result, time.perf_counter()
        result.generation, result.dispositions = switched
        result.processors_waited, result.readers_waited = ended - began, ended - locked

    async def _read_chunk(self, first: UUID) -> tuple[Chunk, UUID | None]:
        """The executions from id `first` on, folded, and where the next chunk begins."""
        last = await self._reader.fetchval(statement("chunk_end"), first, CHUNK)
        bounds = (first, last or _LAST)
        live = await self._reader.fetch(statement("live_between"), *bounds)
        chunk = Chunk({}, live)
        cursor = await self._reader.cursor(statement("log_between"), *bounds)
        await self._fold(chunk, cursor)
        if last is None or last == _LAST:
            return chunk, None
        return chunk, UUID(int=last.int + 1)

    async def _read_named(self, connection: Connection, wanted: Sequence[Identity]) -> Chunk:
        """These executions, what is held of them folded on."""
        held = await load_executions(connection, wanted)
        ids, tenants = zip(*wanted, strict=True)
        ordinals = [held[one].ordinal if one in held else 0 for one in wanted]
        chunk = Chunk(held, await connection.fetch(statement("live_named"), ids, tenants))
        cursor = await connection.cursor(statement("log_named"), ids, tenants, ordinals)
        await self._fold(chunk, cursor)
        return chunk

    async def _fold(self, chunk: Chunk, cursor: Any) -> None:
        while rows := await cursor.fetch(BLOCK):
            chunk.fold(rows)
            self.records += len(rows)
            self._report(Progress("folding", self.records, max(self.total, self.records)))

    def _settle(self, chunk: Chunk) -> None:
        """Carry over what cannot be folded, then compare and count."""
        chunk.carry_over()
        for identity, execution in chunk.current.items():
            before = chunk.held.get(identity)
            row = execution_row(execution)
            known = None if before is None else execution_row(before)
            self._comparison.take(identity, chunk.live.get(identity), known, row)
            self._result.executions += before is None
        self._result.carried_over += len(chunk.incomplete)

    async def _write(self, chunk: Chunk) -> None:
        if self._writer is None:
            return
        async with self._writer.transaction():
            folded = settled(chunk.changes())._replace(resources=chunk.resource_rows())
            await write_rows(self._writer, _TOPIC, _PARTITION, folded)
            if chunk.dispositions:
                number, _ = await generation.live(self._writer)
                await self._writer.copy_records_to_table(
                    "disposition_changes",
                    records=[(number + 1, *row) for row in chunk.disposition_rows()],
                )

    async def _look_into_quarantine(self) -> None:
        """Count the records that no version of the contract before this one could read."""
        async with _snapshot(self._reader):
            cursor = await self._reader.cursor(statement("quarantined_records"))
            while rows := await cursor.fetch(BLOCK):
                self._result.quarantined += sum(
                    isinstance(refold.event(row), Event) for row in rows
                )


@asynccontextmanager
async def _snapshot(connection: Connection) -> AsyncIterator[None]:
    """One moment of the log and of the tables: a processor writes both in one transaction."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        yield


async def _positions(connection: Connection, name: str) -> Positions:
    return [(row[0], row[1], row[2]) for row in await connection.fetch(statement(name))]


async def _touched(connection: Connection, noted: Positions) -> list[Identity]:
    """The executions that got records since."""
    columns = tuple(zip(*noted, strict=True)) or ((), (), ())
    rows = await connection.fetch(statement("touched_executions"), *columns)
    return [(row["id"], row["tenant"]) for row in rows]
