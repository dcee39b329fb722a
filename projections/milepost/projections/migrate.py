"""Brings a database to the schema of this version; safe to run from several processes at once."""

import logging
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Final, NamedTuple

import asyncpg
from asyncpg.pool import PoolConnectionProxy
from pogo_core.util import migrate as pogo
from pogo_core.util.sql import ensure_pogo_sync

from milepost.projections.batch import LogRow
from milepost.projections.statements import statement

MIGRATIONS: Final = Path(str(resources.files("milepost.projections") / "migrations"))
# One number for all of Milepost's migrators ('mile' in ASCII).
_LOCK: Final = 0x6D696C65
_MONTHS_AHEAD: Final = 2
# All but the generated one; "offset" is a word of SQL's.
_COLUMNS: Final = ", ".join(f'"{name}"' for name in LogRow._fields)
_logger: Final = logging.getLogger(__name__)


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

    Raises asyncpg.PostgresError or OSError when the database cannot be reached or refuses.
    """
    connection = await asyncpg.connect(dsn)
    try:
        # A session lock: a migration may need to run outside a transaction.
        await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)
        await ensure_pogo_sync(connection)
        await pogo.apply(connection, MIGRATIONS, schema_name="public", logger=_logger)
        await make_partitions(connection, datetime.now(UTC))
    finally:
        await connection.close()


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
