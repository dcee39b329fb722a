"""A new generation of the projections from the log: equal, healed, switched, taken back."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from milepost.projections import execution, generation, rebuild, refold
from milepost.projections.execution import Disposition, Execution, Outcome, evolve
from milepost.projections.generation import TABLES, FoldOutdated, NoGeneration, check_fold
from milepost.projections.rebuild import Progress, ReadersInTheWay, RebuildRunning
from milepost.schemas.binding import Event, Rejection
from projections.runs import Record
from projections.stored import Connection, Log, connected

POD: Any = {"kind": "pod", "id": "p-1"}
LOST: Any = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
GONE: Any = {"kind": "pod", "id": "p-1", "status": "released"}


@pytest.fixture
async def log(dsn: str) -> AsyncIterator[Log]:
    """A log with a history of everything that can happen."""
    look = await asyncpg.connect(dsn)
    async with await connected(dsn) as pool:
        log = Log(pool, look)
        await log.write(*history(log))
        yield log
    await look.close()


def history(log: Log) -> list[Record]:
    one, two, three, four = (log.run(key) for key in "abcd")
    strangers = log.run("a")
    garbage = one.started()._replace(value=b"{")
    return [
        one.requested(labels={"team": "web"}, links={"workflow_id": "w-1"}),
        one.started(resources=(POD,)),
        garbage,
        two.requested(links={"retry_of": one.execution_id}),
        two.progressed(percent=10),
        two.progressed(percent=5, at=1),
        two.progressed(percent=7, at=1.5),
        two.cancellation_requested(),
        two.cancelled(),
        one.succeeded(resources=(GONE,), outputs={"url": "x"}),
        one.failed(),
        three.failed(at=2, id="first", resources=(POD,)),
        three.requested(),
        three.failed(at=1, id="second"),
        strangers.started(),
        four.requested(),
    ]


async def everything(log: Log) -> dict[str, Any]:
    """What must be as before; when a resource's row was written is the batch's affair."""
    order = {
        "executions": "execution_id",
        "event_log": 'topic, partition, "offset"',
        "resources": "kind, id, execution_id",
        "execution_links": "target, execution_id",
    }
    columns = {"resources": "tenant, provider, region, kind, id, execution_id, status, released,"
               " attributes::text, occurred_at, effective_provider, left_by"}  # fmt: skip
    tables = ("executions", "execution_links", "resources", "event_log")
    found: dict[str, Any] = {
        table: await log.fetch(table, columns.get(table, "*"), order.get(table, "1"))
        for table in tables
    }
    return found | {"activity": await log.activity(), "states": await log.states()}


class TestEqual:
    async def test_a_rebuild_of_a_history_gives_the_same(self, dsn: str, log: Log) -> None:
        before = await everything(log)
        result = await rebuild.rebuild(dsn)
        assert await everything(log) == before
        assert before["activity"] == before["states"]
        assert result.live_hash == result.folded_hash
        assert (result.records, result.executions, result.differing) == (15, 4, 0)
        assert (result.dispositions, result.carried_over, result.quarantined) == (0, 0, 0)

    async def test_what_is_compared_is_the_same_by_verify_and_rebuild(
        self, dsn: str, log: Log
    ) -> None:
        before = await everything(log)
        verified = await rebuild.verify(dsn)
        assert verified.equal
        assert await everything(log) == before
        assert verified.live_hash == (await rebuild.rebuild(dsn)).folded_hash

    async def test_chunks_and_blocks_make_no_difference(
        self, dsn: str, log: Log, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = await everything(log)
        whole = await rebuild.verify(dsn)
        monkeypatch.setattr(rebuild, "CHUNK", 1)
        monkeypatch.setattr(rebuild, "BLOCK", 2)
        result = await rebuild.rebuild(dsn)
        assert result.folded_hash == whole.folded_hash
        assert await everything(log) == before

    async def test_nothing_is_equal_to_nothing(self, dsn: str) -> None:
        assert (await rebuild.verify(dsn)).equal
        assert (await rebuild.rebuild(dsn)).generation == 1

    async def test_the_new_tables_are_as_the_old_ones_were(self, dsn: str, log: Log) -> None:
        before = await catalogue(log.look)
        assert any("own_tenant" in str(row) for row in before)
        await rebuild.rebuild(dsn)
        assert await catalogue(log.look) == before
        assert await catalogue(log.look, "milepost_previous") == before

    async def test_prepared_statements_go_on(self, dsn: str, log: Log) -> None:
        prepared = await log.look.prepare("SELECT count(*), sum(version) FROM executions")
        before = await prepared.fetchrow()
        await rebuild.rebuild(dsn)
        assert await prepared.fetchrow() == before
        # The store's connections, too, have their statements.
        await log.write(log.run("d").started(), start=16)
        assert (await log.fetch("executions", "count(*), sum(ordinal)"))[0] == (4, 16)

    async def test_what_is_told_later_is_folded_on(self, dsn: str, log: Log) -> None:
        await rebuild.rebuild(dsn)
        await log.write(log.run("d").started(), log.run("e").requested(), start=16)
        result = await rebuild.rebuild(dsn)
        assert (result.generation, result.records, result.equal) == (2, 17, True)
        assert await log.activity() == await log.states()
        assert set(await log.fetch("positions", "generation")) == {(2,)}


DAMAGES = {
    "a column": ("UPDATE executions SET provider = 'x' WHERE state = 'failed'", 1),
    "a fact": (
        """UPDATE executions SET body = jsonb_set(body::jsonb, '{facts,outcome}', 'null')::json
        WHERE state = 'cancelled'""",
        1,
    ),
    "a lost execution": ("DELETE FROM executions WHERE state IN ('failed', 'pending')", 2),
    "an older execution": (
        """UPDATE executions SET ordinal = 1, state = 'pending', ended_at = NULL,
        body = (body::jsonb || '{"ordinal": 1, "state": "pending", "version": 1}')::json
        WHERE state = 'succeeded'""",
        1,
    ),
    "a lost resource": ("DELETE FROM resources WHERE status = 'released'", 0),
    "an old resource": ("UPDATE resources SET status = 'up', released = false", 0),
    "a resource of nobody": ("UPDATE resources SET id = 'p-2' WHERE released", 0),
    "a resource's provider": ("UPDATE resources SET effective_provider = 'x'", 0),
    "a resource that was left": ("UPDATE resources SET left_by = NULL WHERE left_by = 'failed'", 0),
    "a count": ("UPDATE tenant_activity SET running = running + 1", 0),
}


class TestDamage:
    @pytest.mark.parametrize("damage", DAMAGES)
    async def test_it_is_found_and_healed(self, dsn: str, log: Log, damage: str) -> None:
        before = await everything(log)
        query, differing = DAMAGES[damage]
        assert not (await log.look.execute(query)).endswith(" 0")
        found = await rebuild.verify(dsn)
        assert not found.equal
        assert (found.differing, len(found.differences)) == (differing, differing)
        assert bool(found.tenants or found.resources or differing)
        assert (found.live_hash == found.folded_hash) == (differing == 0)
        healed = await rebuild.rebuild(dsn)
        assert healed.folded_hash == found.folded_hash
        assert healed.live_hash == found.live_hash
        assert await everything(log) == before
        assert (await rebuild.verify(dsn)).equal

    async def test_it_says_what_differs(self, dsn: str, log: Log) -> None:
        await log.look.execute(DAMAGES["a fact"][0])
        await log.look.execute("DELETE FROM executions WHERE state = 'pending'")
        found = {one.execution_id: one.what for one in (await rebuild.verify(dsn)).differences}
        assert found == {log.run("b").execution_id: "facts", log.run("d").execution_id: "missing"}


class TestIncompleteLogs:
    @pytest.mark.parametrize("gone", ["TRUE", "ordinal = 1", "ordinal = 2", "ordinal > 3"])
    async def test_an_execution_without_all_its_records_is_carried_over(
        self, dsn: str, log: Log, gone: str
    ) -> None:
        before = await everything(log)
        sealed = log.run("a").execution_id
        await log.look.execute(
            f"DELETE FROM event_log WHERE execution_id = $1 AND {gone}",  # noqa: S608
            sealed,
        )
        before["event_log"] = (await everything(log))["event_log"]
        result = await rebuild.rebuild(dsn)
        assert (result.carried_over, result.executions, result.equal) == (1, 4, True)
        assert await everything(log) == before

    async def test_one_that_goes_on_is_folded_on(self, dsn: str, log: Log) -> None:
        await log.look.execute("DELETE FROM event_log WHERE ordinal = 1")
        more = [log.run("d").started(), log.run("d").succeeded()]
        result = await meanwhile(dsn, lambda: log.write(*more, start=16))
        assert (result.carried_over, result.equal) == (4, True)
        assert await log.states() == {"succeeded": 2, "failed": 1, "cancelled": 1}
        assert await log.activity() == await log.states()


class TestMeanwhile:
    async def test_what_is_recorded_during_a_rebuild_is_in_it(
        self, dsn: str, log: Log, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(rebuild, "FEW", 1)
        more = [log.run("d").started(resources=(POD,)), log.run("e").requested()]
        more += [log.run("d").failed(), log.run("c").failed(at=0, id="third")]
        result = await meanwhile(dsn, lambda: log.write(*more, start=16))
        assert (result.records, result.equal, result.executions) == (19, True, 5)
        after = await everything(log)
        assert after["activity"] == after["states"] == {
            "pending": 1, "succeeded": 1, "failed": 2, "cancelled": 1
        }  # fmt: skip
        assert (await rebuild.verify(dsn)).equal

    async def test_the_second_at_once_says_so(self, dsn: str, log: Log) -> None:
        async def second() -> None:
            with pytest.raises(RebuildRunning, match="another rebuild"):
                await rebuild.rebuild(dsn)
            with pytest.raises(RebuildRunning, match="another rebuild"):
                await rebuild.rollback(dsn)
            assert (await rebuild.verify(dsn)).equal

        assert (await meanwhile(dsn, second)).equal

    async def test_a_reader_who_stays_is_not_thrown_out(
        self, dsn: str, log: Log, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = await everything(log)
        monkeypatch.setattr(rebuild, "ATTEMPTS", 1)
        async with log.look.transaction():
            await log.look.execute("SELECT FROM executions")
            with pytest.raises(ReadersInTheWay, match="nothing was changed"):
                await rebuild.rebuild(dsn)
        assert await everything(log) == before

    async def test_a_reader_who_leaves_is_waited_for(self, dsn: str, log: Log) -> None:
        """What the postponed switch had folded is folded again, and counted once."""
        reader = await asyncpg.connect(dsn)
        transaction = reader.transaction()
        postponed = asyncio.Event()

        async def read() -> None:
            await transaction.start()
            await reader.execute("SELECT FROM executions")
            await log.write(log.run("d").started(), log.run("e").requested(), start=16)

        original = rebuild._Rebuild._switch

        async def switch(*arguments: Any) -> None:
            try:
                await original(*arguments)
            except asyncpg.LockNotAvailableError:
                postponed.set()
                await transaction.rollback()
                raise

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(rebuild._Rebuild, "_switch", switch)
            result = await meanwhile(dsn, read)
        assert postponed.is_set()
        assert (result.records, result.executions, result.equal) == (17, 5, True)
        assert await log.activity() == await log.states()
        await reader.close()

    async def test_interrupted_it_changes_nothing(self, dsn: str, log: Log) -> None:
        before = await everything(log)

        async def interrupt() -> None:
            raise asyncio.CancelledError

        with pytest.raises(asyncio.CancelledError):
            await meanwhile(dsn, interrupt)
        assert not await log.look.fetchval("SELECT to_regnamespace('milepost_next') IS NOT NULL")
        assert await everything(log) == before

    async def test_killed_it_leaves_nothing_to_the_next(self, dsn: str, log: Log) -> None:
        before = await everything(log)

        async def kill() -> None:
            await log.look.execute("""
                SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                WHERE application_name = 'milepost-rebuild' AND datname = current_database()""")

        with pytest.raises(LOST):
            await meanwhile(dsn, kill)
        assert await log.look.fetchval("SELECT to_regnamespace('milepost_next') IS NOT NULL")
        assert await everything(log) == before
        assert (await rebuild.rebuild(dsn)).equal
        assert await everything(log) == before


class TestAnotherFold:
    async def test_dispositions_are_brought_up_to_date_and_taken_back(
        self, dsn: str, log: Log, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = await everything(log)

        def lenient(held: Execution | None, event: Event) -> Outcome:
            outcome = evolve(held, event)
            if outcome.disposition != Disposition.STALE:
                return outcome
            return outcome._replace(disposition=Disposition.LATE, reason=None)

        with monkeypatch.context() as patched:
            patched.setattr(refold, "evolve", lenient)
            patched.setattr(rebuild, "FOLD_VERSION", 2)
            result = await rebuild.rebuild(dsn)
        assert (result.dispositions, result.equal) == (1, True)
        told = [("late", None) if one[0] == "stale" else one for one in _dispositions(before)]
        assert await log.dispositions() == told
        assert (await generation.live(log.look)) == (1, 2)
        back = await rebuild.rollback(dsn)
        assert back.dispositions == 1
        assert await everything(log) == before
        assert (await generation.live(log.look)) == (2, 1)
        await rebuild.rollback(dsn)
        assert await log.dispositions() == told
        assert (await generation.live(log.look)) == (3, 2)

    async def test_another_state_is_a_difference(
        self, dsn: str, log: Log, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def forgetful(held: Execution | None, event: Event) -> Outcome:
            outcome = evolve(held, event)
            outcome.execution.facts.pop("percent", None)
            return outcome

        monkeypatch.setattr(refold, "evolve", forgetful)
        result = await meanwhile(dsn, lambda: log.write(log.run("b").progressed(99), start=16))
        assert {one.what for one in result.differences} == {"facts"}
        assert result.differing == 1
        monkeypatch.undo()
        again = await rebuild.rebuild(dsn)
        assert again.live_hash == result.folded_hash
        assert again.folded_hash == result.live_hash

    async def test_a_record_that_is_an_event_by_now_is_counted(self, dsn: str, log: Log) -> None:
        batch = log.batch(log.run("f").requested(), log.run("g").requested(), start=16)
        reasons = ("invalid", "unstorable")
        refused = [
            one._replace(event=Rejection(reason, "value", "no"))
            for one, reason in zip(batch.decoded, reasons, strict=True)
        ]
        batch = type(batch)(batch.topic, 0, 16, 18, refused)
        await log.store.write(batch, await log.own(), None)
        before = await everything(log)
        assert (await rebuild.verify(dsn)).quarantined == 1
        assert (await rebuild.rebuild(dsn)).quarantined == 1
        assert await everything(log) == before


class TestFoldVersion:
    async def test_it_is_the_databases(self, log: Log) -> None:
        assert (await generation.live(log.look))[1] == execution.FOLD_VERSION
        await check_fold(log.look)

    async def test_a_newer_code_warns_until_a_rebuild(
        self,
        dsn: str,
        log: Log,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.setattr(generation, "FOLD_VERSION", 2)
        monkeypatch.setattr(rebuild, "FOLD_VERSION", 2)
        await check_fold(log.look)
        assert "milepost projections rebuild" in capsys.readouterr().out
        await rebuild.rebuild(dsn)
        await check_fold(log.look)
        assert capsys.readouterr().out == ""

    async def test_an_older_code_does_not_start(
        self, log: Log, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(generation, "FOLD_VERSION", 0)
        with pytest.raises(FoldOutdated, match="made by version 1"):
            await check_fold(log.look)

    async def test_an_empty_database_needs_no_rebuild(
        self, dsn: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(generation, "FOLD_VERSION", 2)
        connection = await asyncpg.connect(dsn)
        await check_fold(connection)
        assert capsys.readouterr().out == ""
        assert await generation.live(connection) == (0, 2)
        await connection.close()


class TestRollback:
    async def test_it_goes_back_with_what_was_recorded_since(self, dsn: str, log: Log) -> None:
        await log.look.execute("UPDATE executions SET provider = 'x' WHERE state = 'failed'")
        damaged = await everything(log)
        await rebuild.rebuild(dsn)
        await log.write(log.run("d").started(), log.run("e").requested(), start=16)
        healed = await everything(log)
        result = await rebuild.rollback(dsn)
        assert (result.generation, result.records) == (2, 2)
        back = await everything(log)
        assert back["states"] == back["activity"] == healed["states"]
        assert len(back["executions"]) == 5
        failed = [row for row in damaged["executions"] if row[2] == "failed"]
        assert [row for row in back["executions"] if row[2] == "failed"] == failed
        assert (await rebuild.rollback(dsn)).generation == 3
        assert await everything(log) == healed

    async def test_without_an_earlier_generation_there_is_none(self, dsn: str, log: Log) -> None:
        with pytest.raises(NoGeneration, match="no earlier generation"):
            await rebuild.rollback(dsn)

    async def test_after_a_migration_of_the_tables_there_is_none(self, dsn: str, log: Log) -> None:
        await rebuild.rebuild(dsn)
        await log.look.execute("ALTER TABLE resources ADD COLUMN more text")
        with pytest.raises(NoGeneration, match="resources"):
            await rebuild.rollback(dsn)
        await rebuild.rebuild(dsn)
        assert (await rebuild.rollback(dsn)).generation == 3


async def meanwhile(dsn: str, action: Any) -> rebuild.Result:
    """A rebuild, and `action` once it has begun to fold."""
    begun = asyncio.Event()
    acted = asyncio.Event()

    async def act() -> None:
        await begun.wait()
        await action()
        acted.set()

    def report(progress: Progress) -> None:
        begun.set()

    original = rebuild._Rebuild.fold_all

    async def folded(self: Any) -> Any:
        noted = await original(self)
        if self._writer is not None:
            await acted.wait()
        return noted

    acting = asyncio.create_task(act())
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(rebuild._Rebuild, "fold_all", folded)
        rebuilding = asyncio.create_task(rebuild.rebuild(dsn, report))
        await asyncio.wait([acting, rebuilding], return_when=asyncio.FIRST_COMPLETED)
        if acting.cancelled():
            rebuilding.cancel()
        else:
            await acting
        return await rebuilding


def _dispositions(found: dict[str, Any]) -> list[tuple[Any, ...]]:
    return [(row[11], row[12]) for row in found["event_log"]]


async def catalogue(look: Connection, schema: str = "public") -> list[tuple[Any, ...]]:
    """Everything that Postgres knows of the projection tables, but for the schema that they are in."""
    query = """
        WITH made AS (
            SELECT pg_class.*, relname AS "table" FROM pg_class
            WHERE relnamespace = $1::regnamespace AND relname = ANY($2)
        )
        SELECT "table", 'table', concat_ws(' ', relowner, relpersistence, reloptions,
            relrowsecurity, relforcerowsecurity, relreplident, obj_description(oid, 'pg_class'))
        FROM made
        UNION ALL
        SELECT "table", 'column', concat_ws(' ', attnum, attname, atttypid, atttypmod, attnotnull,
            attcollation, attstorage, attcompression, attgenerated, attidentity, attoptions,
            (SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef WHERE adrelid = attrelid
                AND adnum = attnum), col_description(attrelid, attnum))
        FROM made JOIN pg_attribute ON attrelid = made.oid WHERE attnum > 0 AND NOT attisdropped
        UNION ALL
        SELECT "table", 'index', replace(pg_get_indexdef(indexrelid), $1 || '.', '')
        FROM made JOIN pg_index ON indrelid = made.oid
        UNION ALL
        SELECT "table", 'constraint', conname || ' ' || pg_get_constraintdef(pg_constraint.oid)
        FROM made JOIN pg_constraint ON conrelid = made.oid
        UNION ALL
        SELECT "table", 'policy', concat_ws(' ', polname, polcmd, polpermissive, polroles,
            pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid))
        FROM made JOIN pg_policy ON polrelid = made.oid
        UNION ALL
        SELECT "table", 'grant', concat_ws(' ', item.*)
        FROM made, aclexplode(relacl) AS item
        UNION ALL
        SELECT "table", 'column grant', concat_ws(' ', attname, item.*)
        FROM made JOIN pg_attribute ON attrelid = made.oid, aclexplode(attacl) AS item
        UNION ALL
        SELECT "table", 'trigger', replace(pg_get_triggerdef(pg_trigger.oid), $1 || '.', '')
        FROM made JOIN pg_trigger ON tgrelid = made.oid"""
    rows = await look.fetch(query, schema, TABLES)
    assert {row[0] for row in rows} == set(TABLES)
    return sorted(map(tuple, rows))
