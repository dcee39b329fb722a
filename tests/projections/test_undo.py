"""Migrations taken back and made again: the schema is the same, and nothing is lost unless told."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import asyncpg
import pytest

from cli.conftest import milepost
from milepost.projections.migrate import MIGRATIONS, CannotMigrate, migrate, migrating, patiently
from milepost.projections.undo import Loss, undo

NAMES: Final = sorted(path.stem for path in MIGRATIONS.glob("*.sql"))
# The last one of the first schema.
BASE: Final = "0009_api_keys"
LATER: Final = [name for name in NAMES if name > BASE]

# What pg_dump would tell, by kind: tables with their rights, columns, indexes and so on.
CATALOGUE: Final = """
    SELECT 'table', relname::text, NULL, relkind::text, relrowsecurity::text, sorted.acl
    FROM pg_class, LATERAL (
        -- Rights that were taken back leave those that everybody begins with, written out.
        SELECT string_agg(one::text, ' ' ORDER BY one::text) AS acl
        FROM unnest(
            coalesce(relacl, acldefault(CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", relowner))
        ) AS one
    ) AS sorted
    WHERE relnamespace = 'public'::regnamespace
    UNION ALL
    SELECT
        'column', relname, attname, format_type(atttypid, atttypmod),
        concat_ws(' ', attnotnull, attcollation, pg_get_expr(adbin, adrelid)), sorted.acl
    FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid
    LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum,
    LATERAL (
        SELECT string_agg(one::text, ' ' ORDER BY one::text) AS acl FROM unnest(attacl) AS one
    ) AS sorted
    WHERE relnamespace = 'public'::regnamespace AND attnum > 0 AND NOT attisdropped
    UNION ALL
    SELECT 'index', tablename, indexname, indexdef, NULL, NULL FROM pg_indexes
    WHERE schemaname = 'public'
    UNION ALL
    SELECT 'constraint', conrelid::regclass::text, conname, pg_get_constraintdef(oid), NULL, NULL
    FROM pg_constraint WHERE connamespace = 'public'::regnamespace
    UNION ALL
    SELECT 'policy', tablename, policyname, roles::text, qual, with_check FROM pg_policies
    UNION ALL
    SELECT 'function', proname, NULL, pg_get_functiondef(oid), NULL, NULL FROM pg_proc
    WHERE pronamespace = 'public'::regnamespace
    UNION ALL
    SELECT 'migration', migration_id, NULL, NULL, NULL, NULL FROM _pogo_migration"""


@pytest.fixture
async def owner(database: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database)
    yield connection
    await connection.close()


async def catalogue(connection: asyncpg.Connection) -> set[tuple[str | None, ...]]:
    return {tuple(row) for row in await connection.fetch(CATALOGUE)}


async def test_up_down_and_up_again_give_the_same_schema(
    database: str, owner: asyncpg.Connection
) -> None:
    """Step by step: each one leaves what the one before it had made."""
    made = [await catalogue(owner)]
    for name in reversed([BASE, *LATER[:-1]]):
        (undone,) = await undo(database, name)
        assert not any(loss.rows for loss in undone.losses)
        assert undone.migration not in {row[1] for row in await catalogue(owner)}
        made.append(await catalogue(owner))
    await migrate(database)
    assert await catalogue(owner) == made[0]
    assert [one.migration for one in await undo(database, "0009")] == LATER[::-1]
    assert await catalogue(owner) == made[-1]
    await migrate(database)
    assert await catalogue(owner) == made[0]


async def test_what_would_be_lost_is_said_and_kept(
    database: str, owner: asyncpg.Connection, tmp_path: Path
) -> None:
    await owner.execute(
        "INSERT INTO legal_holds VALUES ('acme', 'the court asked for it', now(), 'somebody')"
    )
    before = await catalogue(owner)
    arguments, variables = ("db", "rollback", "--to", "0009"), {"MILEPOST_DATABASE_URL": database}
    refused = await milepost(*arguments, cwd=tmp_path, **variables)
    assert (refused.status, refused.out) == (1, "")
    assert "lost for ever: legal_holds (1 rows). Back it up, then add --lose" in refused.err
    would = await undo(database, "0009", dry_run=True)
    assert [one.migration for one in would] == LATER[::-1]
    assert Loss("legal_holds", 1) in would[-1].losses
    assert await catalogue(owner) == before
    done = await milepost(*arguments, "--lose", "-o", "json", cwd=tmp_path, **variables)
    assert json.loads(done.out) == [
        {
            "migration": one.migration,
            "undone": True,
            "losses": [loss._asdict() for loss in one.losses],
        }
        for one in would
    ]
    await migrate(database)
    assert await catalogue(owner) == before
    assert await owner.fetchval("SELECT count(*) FROM legal_holds") == 0


@pytest.mark.parametrize(
    ("to", "said"),
    [
        ("0008", "0009_api_keys cannot be taken back: it is part of the first schema"),
        ("9999", "there is no migration '9999'"),
    ],
)
async def test_what_cannot_be_undone_is_refused(
    database: str, owner: asyncpg.Connection, to: str, said: str
) -> None:
    before = await catalogue(owner)
    with pytest.raises(CannotMigrate, match=said):
        await undo(database, to, lose=True)
    assert await catalogue(owner) == before


async def test_what_a_newer_version_made_is_left_to_it(
    database: str, owner: asyncpg.Connection
) -> None:
    await owner.execute(
        "INSERT INTO _pogo_migration VALUES ('9999', '9999_later', now(), 'public')"
    )
    with pytest.raises(CannotMigrate, match="9999_later of a newer version"):
        await undo(database, LATER[-1])
    await owner.execute("DELETE FROM _pogo_migration WHERE migration_id = '9999_later'")


async def test_a_table_in_use_is_waited_for_and_others_are_not_kept_waiting(
    database: str, owner: asyncpg.Connection
) -> None:
    """Whoever reads `executions` for long keeps migrations waiting, and those nobody for long."""
    other = await asyncpg.connect(database)
    try:
        async with owner.transaction():
            await owner.execute("LOCK TABLE executions IN ACCESS SHARE MODE")
            undoing = asyncio.create_task(undo(database, LATER[-2]))
            async with asyncio.timeout(10):
                while not await other.fetchval(
                    "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"
                ):
                    pass
            # Behind the one that waits, until that gives up.
            await other.fetchval("SELECT count(*) FROM executions", timeout=2)
            assert not undoing.done()
        assert [one.migration for one in await undoing] == [LATER[-1]]
        await migrate(database)
    finally:
        await other.close()


async def test_one_that_is_in_use_for_too_long_says_so(
    database: str, owner: asyncpg.Connection
) -> None:
    async with migrating(database) as connection, owner.transaction():
        await owner.execute("LOCK TABLE executions IN ACCESS SHARE MODE")
        await connection.execute("SET lock_timeout = '10ms'")

        async def lock() -> None:
            await connection.execute("DROP TABLE executions")

        with pytest.raises(CannotMigrate, match="the tables are in use"):
            await patiently(lock, seconds=0.1)
