"""The migrations, who may see what, and that every statement fits the schema."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import asyncpg
import pytest
from asyncpg.exceptions import InsufficientPrivilegeError
from pogo_core.util import migrate as pogo

from milepost import projections
from milepost.projections.migrate import MIGRATIONS, make_partitions, migrate
from milepost.projections.queries import READ
from milepost.projections.statements import statement
from projections.stored import Connection, Log, connected

SOURCES: Final = Path(str(resources.files(projections)))
ROOT: Final = Path(__file__).parents[2]
STATEMENTS: Final = sorted(
    path.relative_to(SOURCES / "sql").with_suffix("").as_posix()
    for path in (SOURCES / "sql").rglob("*.sql")
    if path.parent.name != "listed"  # parts of statements: see READ
)
TABLES: Final = {
    "api_keys",
    "archived_months",
    "archived_offsets",
    "audit",
    "event_log",
    "execution_links",
    "executions",
    "positions",
    "requests",
    "resources",
    "tenant_activity",
    "webhook_attempts",
    "webhook_deliveries",
    "webhook_endpoints",
    "webhook_messages",
    "webhook_secrets",
}

# What belongs to no tenant.
NOBODYS: Final = {"archived_months", "archived_offsets", "positions"}

# A row in the audit and in each table of the webhooks, for the tenant that is set.
_ROWS: Final = """
    INSERT INTO audit
    VALUES (now(), gen_random_uuid(), current_setting('test.tenant'), '', '', '', 200, '', '', 0);
    INSERT INTO webhook_endpoints (tenant, endpoint_id, url, states, created_at, updated_at)
    VALUES (current_setting('test.tenant'), gen_random_uuid(), 'https://example.com', '{}', now(), now());
    INSERT INTO webhook_secrets (tenant, endpoint_id, secret_id, sealed, created_at)
    SELECT tenant, endpoint_id, gen_random_uuid(), '', now() FROM webhook_endpoints
    WHERE tenant = current_setting('test.tenant');
    INSERT INTO webhook_messages (tenant, message_id, type, payload, created_at)
    VALUES (current_setting('test.tenant'), 'm', 't', '', now());
    INSERT INTO webhook_deliveries (
        tenant, delivery_id, endpoint_id, message_id, created_at, status
    )
    VALUES (current_setting('test.tenant'), gen_random_uuid(), gen_random_uuid(), 'm', now(), 'failed');
    INSERT INTO webhook_attempts (tenant, delivery_id, attempted_at, duration_seconds)
    SELECT tenant, delivery_id, now(), 0 FROM webhook_deliveries
    WHERE tenant = current_setting('test.tenant')"""


@pytest.fixture
async def owner(database: str) -> AsyncIterator[Connection]:
    """A connection as the owner of the schema."""
    async with session(database) as connection:
        yield connection


@pytest.fixture
async def api(owner: Connection) -> Connection:
    """The same as the API's role, which sees no tenant yet."""
    await owner.execute("SET ROLE milepost_api")
    return owner


@asynccontextmanager
async def session(dsn: str) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(dsn)
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def another_database(postgres: str, name: str) -> AsyncIterator[str]:
    async with session(postgres) as server:
        await server.execute(f"CREATE DATABASE {name}")
        try:
            yield urlsplit(postgres)._replace(path=f"/{name}").geturl()
        finally:
            await server.execute(f"DROP DATABASE {name} WITH (FORCE)")


async def schema(connection: Connection) -> dict[str, list[tuple[Any, ...]]]:
    """What the migrations made, as the catalogue tells it."""
    catalogue = {
        "columns": """
            SELECT table_name, column_name, data_type, collation_name, is_nullable, column_default
            FROM information_schema.columns WHERE table_schema = 'public'
                AND table_name NOT LIKE '%pogo%'""",
        "indexes": """
            SELECT tablename, indexdef FROM pg_indexes
            WHERE schemaname = 'public' AND tablename NOT LIKE '%pogo%'""",
        "policies": "SELECT tablename, policyname, roles::text, qual, with_check FROM pg_policies",
        "grants": """
            SELECT table_name, column_name, privilege_type
            FROM information_schema.column_privileges WHERE grantee = 'milepost_api'""",
        "functions": """
            SELECT proname, prosrc FROM pg_proc WHERE pronamespace = 'public'::regnamespace""",
    }
    found = {name: await connection.fetch(query) for name, query in catalogue.items()}
    return {name: sorted(map(tuple, rows), key=repr) for name, rows in found.items()}


class TestMigrations:
    async def test_several_migrators_at_once_make_one_schema(self, postgres: str) -> None:
        async with another_database(postgres, "migrated_at_once") as dsn:
            await asyncio.gather(*(migrate(dsn) for _ in range(3)))
            async with session(dsn) as connection:
                assert (await schema(connection))["columns"]

    async def test_databases_of_one_server_are_migrated_at_once(self, postgres: str) -> None:
        """They share the roles."""
        async with (
            another_database(postgres, "migrated_left") as left,
            another_database(postgres, "migrated_right") as right,
        ):
            await asyncio.gather(migrate(left), migrate(right))

    async def test_rolled_back_nothing_is_left_and_applied_again_all_is_there(
        self, postgres: str
    ) -> None:
        async with another_database(postgres, "migrated_back") as dsn, session(dsn) as connection:
            await migrate(dsn)
            made = await schema(connection)
            await pogo.rollback(connection, MIGRATIONS, schema_name="public")
            assert {name: rows for name, rows in (await schema(connection)).items() if rows} == {}
            await migrate(dsn)
            assert await schema(connection) == made

    async def test_again_changes_nothing(self, database: str, owner: Connection) -> None:
        before = await schema(owner)
        await migrate(database)
        assert await schema(owner) == before


class TestMonths:
    async def test_this_month_and_the_next_two_have_partitions(self, owner: Connection) -> None:
        now = datetime.now(UTC)
        months = [(now.year * 12 + now.month - 1 + ahead) for ahead in range(3)]
        expected = {f"event_log_{month // 12}_{month % 12 + 1:02}" for month in months}
        assert expected <= await self._partitions(owner)

    async def test_the_end_of_a_year_is_no_end(self, owner: Connection) -> None:
        await make_partitions(owner, datetime(2098, 11, 30, 23, 59, tzinfo=UTC))
        partitions = await self._partitions(owner)
        assert {"event_log_2098_11", "event_log_2098_12", "event_log_2099_01"} <= partitions
        assert "event_log_2099_02" not in partitions

    async def test_a_month_whose_records_came_before_its_partition_is_made(
        self, database: str
    ) -> None:
        late = datetime(2090, 5, 5, tzinfo=UTC)
        async with await connected(database) as pool, session(database) as owner:
            log = Log(pool, owner)
            await log.write(log.run().requested().recorded_at(late))
            await make_partitions(owner, late)
            tables = await log.fetch("event_log", "tableoid::regclass::text")
            assert tables == [("event_log_2090_05",)]
            await log.write(log.run().started().recorded_at(late), start=1, epoch=1)
            tables = await log.fetch("event_log", "tableoid::regclass::text")
            assert tables == [("event_log_2090_05",)] * 2

    async def _partitions(self, owner: Connection) -> set[str]:
        query = """
            SELECT inhrelid::regclass::text FROM pg_inherits
            WHERE inhparent = 'event_log'::regclass"""
        return {name for (name,) in await owner.fetch(query)}


class TestAccess:
    async def test_the_api_owns_nothing_and_can_grow_into_nobody(self, owner: Connection) -> None:
        owned = """
            SELECT relname FROM pg_class WHERE relowner = 'milepost_api'::regrole
            UNION ALL SELECT proname FROM pg_proc WHERE proowner = 'milepost_api'::regrole"""
        assert await owner.fetch(owned) == []
        role = """
            SELECT rolsuper, rolcreaterole, rolcreatedb, rolcanlogin, rolbypassrls
            FROM pg_roles WHERE rolname = 'milepost_api'"""
        assert not any(await owner.fetchrow(role) or ("missing",))
        members = "SELECT FROM pg_auth_members WHERE member = 'milepost_api'::regrole"
        assert await owner.fetch(members) == []

    async def test_it_reads_these_tables_and_each_with_tenants_has_row_level_security(
        self, owner: Connection
    ) -> None:
        readable = {
            name: (protected, has_tenant)
            for name, protected, has_tenant in await owner.fetch("""
                SELECT relname, relrowsecurity AND EXISTS (
                    SELECT FROM pg_policy WHERE polrelid = pg_class.oid
                ), EXISTS (
                    SELECT FROM pg_attribute WHERE attrelid = pg_class.oid AND attname = 'tenant'
                )
                FROM pg_class
                WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm')
                    AND has_any_column_privilege('milepost_api', oid, 'SELECT')""")
        }
        assert readable.keys() == TABLES
        assert {name for name, (protected, _) in readable.items() if not protected} == NOBODYS
        assert not any(readable[name][1] for name in NOBODYS)

    async def test_it_writes_what_tenants_ask_for_and_nothing_else(self, owner: Connection) -> None:
        rights = await owner.fetch("""
            SELECT DISTINCT table_name, privilege_type FROM information_schema.table_privileges
            WHERE grantee = 'milepost_api' AND privilege_type <> 'SELECT'""")
        assert {tuple(row) for row in rights} == {
            ("api_keys", "INSERT"),
            ("audit", "INSERT"),
            ("requests", "INSERT"),
            ("webhook_deliveries", "INSERT"),
            ("webhook_messages", "INSERT"),
            *(("webhook_endpoints", right) for right in ("INSERT", "DELETE")),
            *(("webhook_secrets", right) for right in ("INSERT", "DELETE")),
        }
        columns = await owner.fetch("""
            SELECT table_name, column_name FROM information_schema.column_privileges
            WHERE grantee = 'milepost_api' AND privilege_type = 'UPDATE'""")
        assert {tuple(row) for row in columns} == {
            *(("api_keys", column) for column in ("revoked_at", "revoked_by", "last_used_at")),
            ("requests", "published_at"),
            *(
                ("webhook_deliveries", column)
                for column in ("status", "attempts", "due_at", "ended_at")
            ),
            *(
                ("webhook_endpoints", column)
                for column in (
                    *("url", "description", "states", "operations", "updated_at"),
                    *("disabled_at", "disabled_reason", "failing_since"),
                )
            ),
            ("webhook_secrets", "expires_at"),
        }

    @pytest.mark.parametrize("table", sorted(TABLES - NOBODYS - {"api_keys"}))
    async def test_it_sees_only_the_tenant_that_is_set(self, database: str, table: str) -> None:
        async with await connected(database) as pool, session(database) as owner:
            logs = [Log(pool, owner), Log(pool, owner)]
            for log in logs:
                run = log.run()
                linked = run.requested(links={"workflow_id": "w"})
                await log.write(linked, run.started(resources=({"kind": "pod", "id": "p"},)))
                await self._note_request(owner, log.tenant)
                await owner.execute("SELECT set_config('test.tenant', $1, false)", log.tenant)
                await owner.execute(_ROWS)
            mine, theirs = (log.tenant for log in logs)
            await owner.execute("SET ROLE milepost_api")
            query = f"SELECT DISTINCT tenant FROM {table} WHERE tenant = ANY($1)"  # noqa: S608
            for setting, visible in (("", []), (mine, [mine]), ("*", sorted([mine, theirs]))):
                await owner.execute("SELECT set_config('milepost.tenant', $1, false)", setting)
                seen = await owner.fetch(query, [mine, theirs])
                assert sorted(tenant for (tenant,) in seen) == visible

    async def test_it_cannot_go_round_by_a_partition(self, api: Connection) -> None:
        await api.execute("SET milepost.tenant = '*'")
        with pytest.raises(InsufficientPrivilegeError):
            await api.fetch("SELECT FROM event_log_default")

    async def test_it_cannot_note_requests_of_others(self, api: Connection) -> None:
        await api.execute("SET milepost.tenant = 'acme'")
        with pytest.raises(InsufficientPrivilegeError, match="row-level security"):
            await self._note_request(api, "globex")

    async def _note_request(self, connection: Connection, tenant: str) -> None:
        await connection.execute(
            statement("request_insert"),
            *(tenant, "00000000-0000-5000-8000-000000000000", "", "", b"", b""),
        )


class TestStatements:
    @pytest.mark.parametrize("name", STATEMENTS)
    async def test_it_fits_the_schema(self, owner: Connection, name: str) -> None:
        await owner.prepare(statement(name))

    @pytest.mark.parametrize(
        "name", [*READ, *(name for name in STATEMENTS if name.startswith("endpoints/"))]
    )
    async def test_the_api_may_run_what_it_reads(self, api: Connection, name: str) -> None:
        await api.execute(f"EXPLAIN (GENERIC_PLAN) {READ.get(name) or statement(name)}")

    def test_each_is_used(self) -> None:
        code = "".join(
            path.read_text()
            for room in ("projections", "services")
            for path in (ROOT / room).rglob("*.py")
        )
        named = set(re.findall(r'"([\w/]+)"', code))
        assert {name for name in STATEMENTS if name.removeprefix("doctor/") not in named} == set()
