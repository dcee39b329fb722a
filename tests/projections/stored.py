"""A log whose batches a real Postgres stores, and a pool in which something happens at a step of the store."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, TypeAlias, cast
from uuid import uuid4

import asyncpg

from milepost.projections import store
from milepost.projections.batch import decode_all
from milepost.projections.statements import statement
from milepost.projections.store import Batch, Store, Written
from milepost.schemas.topics import Topics
from projections.runs import Record, Run, placed

# asyncpg-stubs makes it generic in the record class.
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
# Called after each step with its name and the connection, e.g. ("copy event_log", connection).
Hook: TypeAlias = "Callable[[str, Connection], Awaitable[None]]"

TABLES: Final = (
    *("executions", "execution_links", "event_log", "resources", "tenant_activity"),
    "positions",
)
STEPS: Final = (
    "lock_position",
    "load_executions",
    "copy executions",
    "update_executions",
    "upsert_resources",
    "add_activity",
    "copy event_log",
    "advance_position",
    "committed",
)


class Log:
    """The events topic of one test: a tenant, a topic and positions of its own in a shared database.

    `look` is a connection for looking, as the owner of the database.
    """

    def __init__(self, pool: asyncpg.Pool, look: Connection) -> None:
        name = uuid4().hex[:12]
        self.tenant = f"tenant-{name}"
        self.topics = Topics(f"test-{name}.")
        self.topic = self.topics.events
        self.pool = pool
        self.look = look
        self.store = Store(pool, self.topics)

    def run(self, key: str = "k-1", **facts: Any) -> Run:
        """An execution of this log's tenant."""
        return Run(tenant=self.tenant, key=key, **facts)

    def batch(
        self,
        *records: Record,
        start: int = 0,
        partition: int = 0,
        from_offset: int | None = None,
        end: int | None = None,
    ) -> Batch:
        """These records from offset `start` on, in a batch that begins and ends with them."""
        mine = [record._replace(topic=self.topic) for record in placed(records, start, partition)]
        return Batch(
            self.topic,
            partition,
            start if from_offset is None else from_offset,
            start + len(mine) if end is None else end,
            decode_all(mine),
        )

    async def own(self, partition: int = 0, beginning: int = 0) -> int:
        """Take a partition over; the epoch."""
        return (await self.store.acquire(self.topic, partition, beginning)).epoch

    async def write(self, *records: Record, start: int = 0, epoch: int | None = None) -> Written:
        """Take partition 0 over unless `epoch` owns it, and write one batch."""
        epoch = await self.own() if epoch is None else epoch
        return await self.store.write(self.batch(*records, start=start), epoch, None)

    async def fetch(
        self, table: str, columns: str = "*", order: str = "1"
    ) -> list[tuple[Any, ...]]:
        """All of this log's rows of a table."""
        mine = "topic" if table in ("event_log", "positions") else "tenant"
        rows = await self.look.fetch(
            f"SELECT {columns} FROM {table} WHERE {mine} = $1 ORDER BY {order}",  # noqa: S608
            self.topic if mine == "topic" else self.tenant,
        )
        return [tuple(row) for row in rows]

    async def dispositions(self) -> list[tuple[Any, ...]]:
        """What became of each record, in the order of the log."""
        return await self.fetch("event_log", "disposition, reason", 'partition, "offset"')

    async def states(self) -> dict[str, int]:
        """How many executions are in each state, counted one by one."""
        return dict(Counter(state for (state,) in await self.fetch("executions", "state")))

    async def activity(self) -> dict[str, int]:
        """How many executions are in each state, as the tenant's activity says."""
        row = await self.look.fetchrow(statement("tenant_summary"), self.tenant)
        assert row is not None
        names = ("pending", "running", "succeeded", "failed", "cancelled")
        return {name: row[name] for name in names if row[name]}

    async def everything(self) -> dict[str, list[tuple[Any, ...]]]:
        """Every row of every table that a batch writes."""
        order = {"event_log": 'partition, "offset"', "resources": "kind, id, execution_id"}
        return {table: await self.fetch(table, order=order.get(table, "1")) for table in TABLES}


class HookedPool:
    """A pool whose connections call `hook` after each step of the store.

    What the hook raises is what the store sees, though the step has been done: after "committed" that
    is a commit of unknown outcome.
    """

    def __init__(self, pool: asyncpg.Pool, hook: Hook) -> None:
        self._pool = pool
        self._hook = hook

    @classmethod
    def store(cls, log: Log, hook: Hook) -> Store:
        """The store of a log with this hook."""
        return Store(cast(asyncpg.Pool, cls(log.pool, hook)), log.topics)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator["_Hooked"]:
        async with self._pool.acquire() as connection:
            yield _Hooked(cast(Connection, connection), self._hook)


class _Hooked:
    def __init__(self, connection: Connection, hook: Hook) -> None:
        self._connection = connection
        self._hook = hook

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._connection, name)
        if name not in ("fetch", "fetchrow", "fetchval", "execute", "copy_records_to_table"):
            return method

        async def hooked(first: str, *arguments: Any, **options: Any) -> Any:
            result = await method(first, *arguments, **options)
            step = f"copy {first}" if name == "copy_records_to_table" else _named(first)
            await self._hook(step, self._connection)
            return result

        return hooked

    def transaction(self) -> "_HookedTransaction":
        return _HookedTransaction(self._connection, self._hook)


class _HookedTransaction:
    def __init__(self, connection: Connection, hook: Hook) -> None:
        self._connection = connection
        self._hook = hook
        self._transaction = connection.transaction()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transaction, name)

    async def __aenter__(self) -> None:
        await self._transaction.__aenter__()

    async def __aexit__(self, *raised: object) -> None:
        await self._transaction.__aexit__(*raised)
        if raised[0] is None:
            await self._hook("committed", self._connection)


def _named(sql: str) -> str:
    return next((name for name in STEPS if " " not in name and _is(name, sql)), sql)


def _is(name: str, sql: str) -> bool:
    return name != "committed" and statement(name) == sql


def once(step: str, action: Hook) -> Hook:
    """A hook that acts the first time that this step is done."""
    done: list[str] = []

    async def hook(name: str, connection: Connection) -> None:
        if name == step and not done:
            done.append(name)
            await action(name, connection)

    return hook


def failing(error: BaseException) -> Hook:
    """An action that raises."""

    async def action(name: str, connection: Connection) -> None:
        raise error

    return action


async def until(look: Connection, condition: str) -> None:
    """Wait until this SQL condition holds. Raises TimeoutError after ten seconds."""
    async with asyncio.timeout(10):
        # Each look is a round trip: nothing in Postgres wakes those who wait for such things.
        while not await look.fetchval(f"SELECT {condition}"):
            continue


def offsets(written: Sequence[Written]) -> list[tuple[int, int]]:
    """From where to where each write went."""
    return [(one.from_offset, one.next_offset) for one in written]


async def connected(dsn: str, size: int = 4) -> asyncpg.Pool:
    """A pool as the processor has it."""
    return await store.connect(dsn, size=size)
