"""Takes migrations back: all that are asked for or none, and nothing that would be lost unless told."""

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

import asyncpg
from pogo_core.migration import Migration
from pogo_core.util import sql

from milepost.projections.migrate import MIGRATIONS, CannotMigrate, migrating, patiently

# In the part of a migration that takes it back: the tables and columns (table.column) that go with it.
# One without such a line is of the first schema, without which no version has ever run.
_LOSES: Final = re.compile(r"^-- loses: (.+)$", re.MULTILINE)
_NOTHING: Final = "nothing"


class Loss(NamedTuple):
    """A table that would be dropped, or a column (`table.column`), and how many rows have something in it."""

    what: str
    rows: int


class Undone(NamedTuple):
    """A migration that was taken back, or would be, and what of the data went with it."""

    migration: str
    losses: list[Loss]


async def undo(dsn: str, to: str, *, lose: bool = False, dry_run: bool = False) -> list[Undone]:
    """Take back every migration after `to` (its name or number), the newest first, in one transaction.

    Raises CannotMigrate where that is not possible, or data would be lost and `lose` does not say so;
    asyncpg.PostgresError or OSError as `migrate`. With `dry_run` it only looks.
    """
    async with migrating(dsn) as connection:
        after = await _applied_after(connection, to)
        undone = await _look(connection, after)
        if dry_run:
            return undone

        async def take_back() -> None:
            nonlocal undone
            async with connection.transaction():
                if not lose:
                    await _keep_as_they_are(connection, after)
                undone = await _look(connection, after)
                _require(undone, lose=lose)
                for one in after:
                    await one.rollback(connection)
                    await sql.migration_unapplied(connection, one.id, schema_name="public")

        _require(undone, lose=lose)  # before anybody has to wait for it
        await patiently(take_back)
        return undone


async def _applied_after(connection: asyncpg.Connection, to: str) -> list[Migration]:
    """The newest first. Numbers are in an order in which they can be applied."""
    known = await sql.read_migrations(MIGRATIONS, connection, schema_name="public")
    known.sort(key=lambda one: one.id)
    target = next((one.id for one in known if to in (one.id, one.id.partition("_")[0])), None)
    if target is None:
        names = ", ".join(one.id for one in known)
        raise CannotMigrate(f"there is no migration {to!r}; there are {names}")
    applied = await sql.get_applied_migrations(connection, schema_name="public")
    if newer := sorted(applied - {one.id for one in known}):
        raise CannotMigrate(
            f"the database has {', '.join(newer)} of a newer version: take that back with that version"
        )
    if target not in applied:
        raise CannotMigrate(f"the database does not have {target}: there is nothing to go back to")
    after = [one.load() for one in reversed(known) if one.applied and one.id > target]
    for one in after:
        if not _LOSES.search(one.path.read_text()):
            raise CannotMigrate(
                f"{one.id} cannot be taken back: it is part of the first schema, which every version"
                " needs; to be rid of everything, drop the database"
            )
    return after


def _require(undone: Sequence[Undone], *, lose: bool) -> None:
    losses = [loss for one in undone for loss in one.losses if loss.rows]
    if losses and not lose:
        said = ", ".join(f"{what} ({rows:,} rows)" for what, rows in losses)
        raise CannotMigrate(
            f"nothing was changed, because this would be lost for ever: {said}. Back it up, then add --lose"
        )


async def _look(connection: asyncpg.Connection, after: Sequence[Migration]) -> list[Undone]:
    return [
        Undone(one.id, [await _loss(connection, what) for what in _loses(one)]) for one in after
    ]


async def _loss(connection: asyncpg.Connection, what: str) -> Loss:
    # Names cannot be parameters; these are our own.
    table, _, column = what.partition(".")
    return Loss(what, await connection.fetchval(f"SELECT count({column or '*'}) FROM {table}"))  # noqa: S608


async def _keep_as_they_are(connection: asyncpg.Connection, after: Sequence[Migration]) -> None:
    """What would be lost gets no rows until the transaction is over."""
    for table in sorted({what.partition(".")[0] for one in after for what in _loses(one)}):
        await connection.execute(f"LOCK TABLE {table} IN SHARE MODE")


def _loses(one: Migration) -> list[str]:
    said = _LOSES.search(one.path.read_text())
    assert said is not None, "`_applied_after` has refused the others"
    return [what for what in said[1].split() if what != _NOTHING]
