"""Generations of the projection tables: one is live, one may be made beside it, one is kept behind it.

Each is in a schema of its own, under the names of the live tables: a session whose `search_path`
begins with that schema runs the very statements of the store on it. To switch is to move tables
between schemas in one transaction. Indexes, policies and grants go along, and whoever has prepared a
statement finds the new tables at its next use.
"""

from typing import Any, Final

import asyncpg
import structlog

from milepost.projections.execution import FOLD_VERSION
from milepost.projections.statements import statement
from milepost.projections.store import Connection

# In the order in which they are locked.
TABLES: Final = ("executions", "execution_links", "resources", "tenant_activity")
NEXT: Final = "milepost_next"
PREVIOUS: Final = "milepost_previous"

_log: Final = structlog.get_logger(__name__)


class GenerationError(Exception):
    """What is asked of the projections cannot be done; the text says why, and the remedy."""


class FoldOutdated(GenerationError):
    """This code's fold is older than the one that made the projections."""


class NoGeneration(GenerationError):
    """There is no earlier generation to go back to, or its tables no longer fit."""


async def check_fold(connection: "asyncpg.Pool[Any] | Connection") -> None:
    """Compare the version of this code's fold with the one that made the projections.

    Older projections are worth a warning. Raises FoldOutdated where they are newer: folding on would
    take back what the newer version knows.
    """
    row = await connection.fetchrow(statement("fold_version"))
    assert row is not None, "a migration writes the first row"
    stored: int = row["fold_version"]
    if stored > FOLD_VERSION:
        raise FoldOutdated(
            f"the projections were made by version {stored} of the fold, this code has version"
            f" {FOLD_VERSION}. Install the version of Milepost that made them, or go back with"
            " `milepost projections rollback`."
        )
    if stored == FOLD_VERSION:
        return
    if not row["folded"]:
        await connection.execute(statement("adopt_fold_version"), row["generation"], FOLD_VERSION)
        return
    _log.warning(
        "fold_changed", projections=stored, code=FOLD_VERSION,
        remedy="run `milepost projections rebuild`: what was folded before is as the older fold left it",
    )  # fmt: skip


async def create(connection: Connection) -> None:
    """Make the next generation, empty; what an interrupted rebuild left is dropped."""
    await discard(connection)
    async with connection.transaction():
        await connection.execute(f"CREATE SCHEMA {NEXT}")
        for table in TABLES:
            for row in await connection.fetch(statement("generation_ddl"), NEXT, table):
                await connection.execute(row["command"])


async def discard(connection: Connection) -> None:
    """Drop the next generation and what it says of records, if there is one."""
    generation, _ = await live(connection)
    async with connection.transaction():
        await connection.execute(f"DROP SCHEMA IF EXISTS {NEXT} CASCADE")
        await connection.execute(statement("forget_dispositions"), generation - 1)


async def live(connection: Connection) -> tuple[int, int]:
    """The number of the live generation and the version of the fold that made it."""
    return (await _generations(connection))[0]


async def previous(connection: Connection) -> tuple[int, int]:
    """The number of the generation that is kept, and its fold. Raises NoGeneration."""
    generations = await _generations(connection)
    kept = await connection.fetchval("SELECT to_regnamespace($1) IS NOT NULL", PREVIOUS)
    if not kept or len(generations) < 2:
        raise NoGeneration("there is no earlier generation of the projections to go back to")
    await _check_columns(connection, PREVIOUS)
    return generations[1]


async def _generations(connection: Connection) -> list[tuple[int, int]]:
    rows = await connection.fetch(statement("generations"))
    return [(row["generation"], row["fold_version"]) for row in rows]


async def prepare(connection: Connection, schema: str, fold_version: int) -> tuple[int, int]:
    """All of a switch to the generation in `schema` that readers do not notice, in one transaction with
    the rest of it.

    Returns its number and how many records `event_log` now says something else of. Raises NoGeneration
    where a migration has changed the live tables since it was made.
    """
    await _check_columns(connection, schema)
    generation = (await live(connection))[0] + 1
    if schema == PREVIOUS:
        # What event_log said in that generation is what it is to say again.
        await connection.execute(statement("revive_dispositions"), generation - 2, generation)
        await connection.execute(f"ALTER SCHEMA {PREVIOUS} RENAME TO {NEXT}")
    await connection.execute(f"DROP SCHEMA IF EXISTS {PREVIOUS} CASCADE")
    await connection.execute(f"CREATE SCHEMA {PREVIOUS}")
    changed = await connection.execute(statement("change_dispositions"), generation)
    await connection.execute(statement("raise_generation"))
    await connection.execute(statement("switched_generation"), generation, fold_version)
    return generation, int(changed.rpartition(" ")[2])


async def lock(connection: Connection) -> None:
    """Keep readers off the live tables until the transaction ends.

    Raises asyncpg's LockNotAvailableError or DeadlockDetectedError where some do not leave.
    """
    # Longer than deadlock_timeout (1 s): then an autovacuum gives way, and of a deadlock with a reader,
    # who began to wait after us, we are the victim.
    await connection.execute("SET LOCAL lock_timeout = '2s'")
    names = ", ".join(f"public.{table}" for table in TABLES)
    await connection.execute(f"LOCK TABLE {names} IN ACCESS EXCLUSIVE MODE")


async def move(connection: Connection) -> None:
    """Make the next generation, prepared and locked, the live one, and keep the live one."""
    moves = [
        f"ALTER TABLE public.{table} SET SCHEMA {PREVIOUS};"
        f"ALTER TABLE {NEXT}.{table} SET SCHEMA public;"
        for table in TABLES
    ]
    # One round trip: readers wait.
    await connection.execute("".join(moves) + f"DROP SCHEMA {NEXT}")


async def _check_columns(connection: Connection, schema: str) -> None:
    for table in TABLES:
        if await connection.fetchval(statement("columns_differ"), schema, table):
            raise NoGeneration(
                f"a migration has changed the table {table} since this generation was made:"
                " run `milepost projections rebuild`"
            )
