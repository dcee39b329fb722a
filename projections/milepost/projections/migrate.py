"""Brings a database to the schema of this version; safe to run from several processes at once."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Final, NamedTuple

import asyncpg
import stamina
from asyncpg.pool import PoolConnectionProxy
from pogo_core.error import BadMigrationError
from pogo_core.util import migrate as pogo
from pogo_core.util.sql import ensure_pogo_sync

from milepost.projections.batch import LogRow
from milepost.projections.statements import statement

MIGRATIONS: Final = Path(str(resources.files("milepost.projections") / "migrations"))
# One number for all of Milepost's migrators ('mile' in ASCII).
_LOCK: Final = 0x6D696C65
# Whoever comes after a migration that waits for a table waits behind it, so it gives up soon and comes
# again: less than the services wait for a lock themselves.
_LOCK_TIMEOUT: Final = "1s"
_PATIENCE: Final = 120.0
_MONTHS_AHEAD: Final = 2
# All but the generated one; "offset" is a word of SQL's.
_COLUMNS: Final = ", ".join(f'"{name}"' for name in LogRow._fields)
_logger: Final = logging.getLogger(__name__)


class CannotMigrate(Exception):
    """The schema cannot be changed as asked, and was not; the text says why and what to do."""


class Schema(NamedTuple):
    """Migrations that this version has and the database has not, and the other way round."""

    pending: list[str]
    unknown: list[str]


class Month(NamedTuple):
    """A month of `event_log`: its partition's name, its first moment and the first one after it."""

    name: str
    first: datetime
    after: datetime


class Partition(NamedTuple):
    """A month's partition of `event_log`, and whether it was made just now."""

    name: str
    made: bool


async def migrate(dsn: str) -> None:
    """Apply the migrations that are missing, then make the partitions of the coming months.

    Raises asyncpg.PostgresError or OSError when the database cannot be reached or refuses, CannotMigrate
    when a table is in use for so long that services would have to wait.
    """
    async with migrating(dsn) as connection:

        async def apply() -> None:
            await pogo.apply(connection, MIGRATIONS, schema_name="public", logger=_logger)
            await make_partitions(connection, datetime.now(UTC))

        await patiently(apply)


@asynccontextmanager
async def migrating(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection that is the only one to change the schema, and waits for no table for long."""
    connection = await asyncpg.connect(dsn)
    try:
        # A session lock: a migration may need to run outside a transaction.
        await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)
        await connection.execute(f"SET lock_timeout = '{_LOCK_TIMEOUT}'")
        await ensure_pogo_sync(connection)
        yield connection
    finally:
        await connection.close()


async def patiently(work: Callable[[], Awaitable[None]], seconds: float = _PATIENCE) -> None:
    """Do it, again and again where others are in its way; raises as `migrate` does."""
    try:
        async for attempt in stamina.retry_context(
            on=_in_the_way, attempts=None, timeout=seconds, wait_initial=0.5, wait_max=2.0
        ):
            with attempt:
                await work()
    except (BadMigrationError, asyncpg.PostgresError) as error:
        if _in_the_way(error):
            raise CannotMigrate(
                f"the tables are in use by something that takes long ({_cause(error)}), and services"
                " must not wait behind a migration: let it end, or end it, and try again"
            ) from error
        raise _cause(error) from error


def _in_the_way(error: Exception) -> bool:
    return isinstance(
        _cause(error),
        asyncpg.exceptions.LockNotAvailableError
        | asyncpg.exceptions.DeadlockDetectedError
        # "tuple concurrently updated": a right was granted while the server noted something of a table.
        | asyncpg.exceptions.InternalServerError,
    )


def _cause(error: BaseException) -> BaseException:
    """What pogo's error is about."""
    return error.__cause__ or error if isinstance(error, BadMigrationError) else error


async def schema(connection: asyncpg.Connection | PoolConnectionProxy) -> Schema:
    """How the database's schema differs from this version's. Raises asyncpg.PostgresError."""
    ours = {path.stem for path in MIGRATIONS.glob("*.sql")}
    applied: set[str] = set()
    if await connection.fetchval("SELECT to_regclass('public._pogo_migration') IS NOT NULL"):
        rows = await connection.fetch(statement("applied_migrations"))
        applied = {row["migration_id"] for row in rows}
    return Schema(sorted(ours - applied), sorted(applied - ours))


async def maintain(dsn: str) -> list[Partition]:
    """Make the partitions of the coming months; raises as `migrate` does."""
    connection = await asyncpg.connect(dsn)
    try:
        return await make_partitions(connection, datetime.now(UTC))
    finally:
        await connection.close()


async def make_partitions(
    connection: asyncpg.Connection | PoolConnectionProxy, now: datetime
) -> list[Partition]:
    """Create `event_log`'s partitions for the month of `now` and the two after it."""
    return [await make_partition(connection, month) for month in months(now)]


async def make_partition(
    connection: asyncpg.Connection | PoolConnectionProxy, month: Month
) -> Partition:
    """Create `event_log`'s partition for a month, with what is in the default one of it."""
    name, first, after = month
    # Identifiers and bounds cannot be parameters; both come from a datetime.
    start, end = f"'{first:%Y-%m-%d}+00'", f"'{after:%Y-%m-%d}+00'"
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
        if await connection.fetchval("SELECT to_regclass($1) IS NOT NULL", name):
            return Partition(name, made=False)
        # Records whose month had no partition went to the default one, which must have none of them.
        await connection.execute(f"""
            LOCK TABLE event_log_default IN SHARE ROW EXCLUSIVE MODE;
            CREATE TABLE {name} (LIKE event_log INCLUDING GENERATED);
            WITH early AS (
                DELETE FROM event_log_default
                WHERE recorded_at >= {start} AND recorded_at < {end}
                RETURNING {_COLUMNS}
            )
            INSERT INTO {name} ({_COLUMNS}) SELECT {_COLUMNS} FROM early;
            ALTER TABLE event_log ATTACH PARTITION {name} FOR VALUES FROM ({start}) TO ({end});
        """)  # noqa: S608
    return Partition(name, made=True)


def months(now: datetime) -> list[Month]:
    """The month of `now` and those after it that `event_log` has a partition for."""
    return [month(now, ahead) for ahead in range(_MONTHS_AHEAD + 1)]


def month(now: datetime, ahead: int = 0) -> Month:
    """The month so many after that of `now`; before it where that is negative."""
    first, after = _first(now, ahead), _first(now, ahead + 1)
    return Month(f"event_log_{first:%Y_%m}", first, after)


def _first(now: datetime, ahead: int) -> datetime:
    years, number = divmod(now.month - 1 + ahead, 12)
    return datetime(now.year + years, number + 1, 1, tzinfo=UTC)
