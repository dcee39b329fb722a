"""The store on a real Postgres: one batch, one transaction, whatever happens to connections and neighbours."""

import asyncio
import hashlib
import struct
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import orjson
import pytest
from asyncpg.exceptions import ConnectionDoesNotExistError, SerializationError
from hypothesis import given, settings
from hypothesis import strategies as st

from milepost.projections import body
from milepost.projections.batch import fold
from milepost.projections.outgoing import unpack
from milepost.projections.statements import statement
from milepost.projections.store import ATTEMPTS, SESSION, Fenced, OffsetGap, Store
from milepost.schemas.binding import encode
from milepost.schemas.events import EventData
from milepost.schemas.values import Resource
from projections.histories import EXAMPLES, law
from projections.runs import K8S, Record, Run, minute
from projections.stored import (
    STEPS,
    Connection,
    HookedPool,
    Log,
    connected,
    failing,
    offsets,
    once,
    until,
)
from schemas.strategies import encodings

TASK = Resource("ecs.task", "task-1", status="up", attributes={"cpu": 1})


@pytest.fixture(scope="module")
async def pool(database: str) -> AsyncIterator[asyncpg.Pool]:
    async with await connected(database) as pool:
        yield pool


@pytest.fixture(scope="module")
async def look(database: str) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(database)
    yield connection
    await connection.close()


@pytest.fixture
def log(pool: asyncpg.Pool, look: Connection) -> Log:
    return Log(pool, look)


def life(run: Run) -> list[Record]:
    """Everything that touches every table."""
    return [
        run.requested(labels={"team": "a"}),
        run.started(resources=(TASK,)),
        run.progressed(percent=50),
        run.succeeded(outputs={"url": "https://shop"}),
    ]


class TestBatch:
    async def test_a_batch_becomes_rows_of_every_table(self, log: Log) -> None:
        run = log.run()
        written = await log.write(*life(run))
        assert (written.from_offset, written.next_offset, written.records) == (0, 4, 4)
        assert [record.topic for record in written.outgoing] == [
            log.topics.commands,
            f"{log.topics.prefix}succeeded.v1",
        ]
        columns = "execution_id::text, state, version, ordinal, operation, provider, ended_at"
        assert await log.fetch("executions", columns) == [
            (run.execution_id, "succeeded", 4, 4, "provision", "ecs", minute(5))
        ]
        columns = '"offset", disposition, execution_id::text, ordinal, recorded_at, occurred_at'
        assert await log.fetch("event_log", columns) == [
            (offset, "applied", run.execution_id, offset + 1, minute(at), minute(at))
            for offset, at in enumerate((0, 1, 2, 5))
        ]
        columns = "provider, region, kind, id, status, released, attributes::text"
        assert await log.fetch("resources", columns) == [
            ("", "", "ecs.task", "task-1", "up", False, '{"cpu":1}')
        ]
        columns = "partition, pending, running, succeeded, last_success_at, last_success::text"
        assert await log.fetch("tenant_activity", columns) == [
            (0, 0, 0, 1, minute(5), run.execution_id)
        ]
        assert await log.fetch("positions", "epoch, next_offset, recorded_at") == [
            (1, 4, minute(5))
        ]

    async def test_the_same_batch_again_changes_nothing(self, log: Log) -> None:
        await log.write(*life(log.run()))
        before = await log.everything()
        written = await log.write(*life(log.run()), epoch=1)
        assert (written.from_offset, written.next_offset) == (4, 4)
        assert (written.records, written.outgoing) == (0, [])
        assert await log.everything() == before

    async def test_of_an_overlapping_batch_only_what_is_left_is_folded(self, log: Log) -> None:
        first, second, third, last = life(log.run())
        await log.write(first, second)
        written = await log.write(second, third, last, start=1, epoch=1)
        assert (written.from_offset, written.next_offset, written.records) == (2, 4, 2)
        assert await log.fetch("executions", "state, ordinal") == [("succeeded", 4)]
        assert await log.dispositions() == [("applied", None)] * 4

    async def test_batches_give_the_same_rows_as_one_batch(
        self, pool: asyncpg.Pool, look: Connection
    ) -> None:
        whole, parts = Log(pool, look), Log(pool, look)
        parts.tenant = f"{whole.tenant}-parts"
        await whole.write(*life(whole.run()))
        epoch = await parts.own()
        for offset, record in enumerate(life(parts.run())):
            await parts.write(record, start=offset, epoch=epoch)
        for table, columns in (
            ("executions", "state, version, ordinal, labels::text, first_recorded_at, recorded_at"),
            ("event_log", '"offset", disposition, reason, ordinal, log_lines'),
            ("resources", "kind, id, status, attributes::text, occurred_at"),
            ("tenant_activity", "pending, running, succeeded, last_success_at"),
        ):
            assert await whole.fetch(table, columns) == await parts.fetch(table, columns)

    async def test_holes_in_the_offsets_are_normal(self, log: Log) -> None:
        epoch = await log.own(beginning=7)
        run = log.run()
        batch = log.batch(run.requested(), start=9, from_offset=7, end=12)
        written = await log.store.write(batch, epoch, None)
        assert (written.from_offset, written.next_offset, written.records) == (7, 12, 1)
        markers = log.batch(start=12, end=20)
        assert (await log.store.write(markers, epoch, None)).next_offset == 20
        assert await log.fetch("positions", "next_offset, recorded_at") == [(20, minute(0))]

    async def test_a_gap_is_refused(self, log: Log) -> None:
        await log.write(log.run().requested())
        before = await log.everything()
        with pytest.raises(OffsetGap, match="expects offset 1, Kafka handed over from 2"):
            await log.write(log.run().started(), start=2, epoch=1)
        assert await log.everything() == before

    async def test_quarantined_records_belong_to_nobody(self, log: Log) -> None:
        await log.write(log.run().requested(), log.run().started()._replace(value=b"{"))
        [applied, quarantined] = await log.fetch("event_log", "disposition, tenant, execution_id")
        assert applied[0] == "applied"
        assert quarantined == ("quarantined", None, None)

    async def test_one_notification_per_batch_says_how_far(self, log: Log) -> None:
        heard: asyncio.Queue[str] = asyncio.Queue()

        def hear(connection: object, pid: int, channel: str, payload: object) -> None:
            heard.put_nowait(str(payload))

        epoch = await log.own(3)
        await log.look.add_listener("milepost_positions", hear)
        await log.store.write(log.batch(*life(log.run()), partition=3), epoch, None)
        await log.store.write(log.batch(start=4, end=6, partition=3), epoch, None)
        async with asyncio.timeout(10):
            assert [await heard.get(), await heard.get()] == ["3:4", "3:6"]
        await log.look.remove_listener("milepost_positions", hear)
        assert heard.empty()

    async def test_where_the_relay_is_goes_with_the_batch(self, log: Log) -> None:
        epoch = await log.own()
        assert (await log.store.acquire(log.topic, 0, 0)).relayed is None
        epoch += 1
        await log.store.write(log.batch(log.run().requested()), epoch, 1)
        assert await log.store.acquire(log.topic, 0, 99) == (epoch + 1, 1, 1)

    async def test_what_is_sent_out_is_stored_with_its_record(self, log: Log) -> None:
        written = await log.write(*life(log.run()), log.run("k-2").failed())
        stored = await log.store.emitted_between(log.topic, 0, 0, 5, 10)
        assert [offset for offset, _ in stored] == [0, 3, 4]
        assert [record for _, records in stored for record in records] == written.outgoing
        assert [
            offset for offset, _ in await log.store.emitted_between(log.topic, 0, 1, 4, 10)
        ] == [3]
        assert len(await log.store.emitted_between(log.topic, 0, 0, 5, 1)) == 1

    async def test_a_problem_stays_until_the_partition_is_folded_again(self, log: Log) -> None:
        epoch = await log.own()
        await log.store.report_problem(log.topic, 0, "the topic was recreated")
        await log.store.report_ends(log.topic, {0: 9, 1: 5})
        columns = "problem, end_offset, end_offset_at > now() - interval '1 minute'"
        assert await log.fetch("positions", columns) == [("the topic was recreated", 9, True)]
        await log.write(log.run().requested(), epoch=epoch)
        assert await log.fetch("positions", "problem") == [(None,)]


class TestOwnership:
    async def test_a_predecessor_is_fenced(self, log: Log) -> None:
        old = await log.own()
        new = await log.own()
        await log.store.check_owner(log.topic, 0, new)
        with pytest.raises(Fenced):
            await log.store.check_owner(log.topic, 0, old)
        with pytest.raises(Fenced):
            await log.write(log.run().requested(), epoch=old)
        await log.write(log.run().requested(), epoch=new)
        assert await log.fetch("positions", "epoch, next_offset") == [(new, 1)]

    async def test_a_partition_that_nobody_took_over_is_nobodys(self, log: Log) -> None:
        with pytest.raises(Fenced):
            await log.write(log.run().requested(), epoch=1)

    async def test_taking_over_waits_for_the_batch_that_is_being_written(self, log: Log) -> None:
        epoch = await log.own()
        taking: list[asyncio.Task[int]] = []

        async def take(step: str, connection: Connection) -> None:
            taking.append(asyncio.ensure_future(log.own()))
            await _waiting(log)

        slow = HookedPool.store(log, once("copy event_log", take))
        written = await slow.write(log.batch(log.run().requested()), epoch, None)
        assert await taking[0] == epoch + 1
        assert written.next_offset == 1
        with pytest.raises(Fenced):
            await log.write(log.run().started(), start=1, epoch=epoch)

    async def test_a_stopped_predecessor_does_not_hold_what_it_locked(
        self, log: Log, database: str
    ) -> None:
        """As of a stopped process: its session ends before its successor gives up."""
        await log.write(log.run().requested())
        impatient = SESSION | {"lock_timeout": "50ms"}
        async with (
            log.pool.acquire() as zombie,
            asyncpg.create_pool(database, min_size=1, server_settings=impatient) as pool,
        ):
            await zombie.execute("SET idle_in_transaction_session_timeout = '200ms'")
            await zombie.execute("BEGIN")
            await zombie.execute(statement("lock_position"), log.topic, 0)
            position = await Store(pool, log.topics).acquire(log.topic, 0, 0)
            assert position.next_offset == 1


class TestFaults:
    """Each ends as if nothing had happened."""

    @pytest.mark.parametrize("step", STEPS)
    async def test_a_connection_lost_at_any_step(self, log: Log, step: str) -> None:
        epoch = await log.own()
        broken = HookedPool.store(log, once(step, failing(ConnectionResetError())))
        first = log.batch(log.run().requested(), log.run("k-2").requested())
        rest = log.batch(*life(log.run())[1:], *life(log.run("k-3")), start=2)
        await broken.write(first, epoch, None)
        await broken.write(rest, epoch, None)
        await self._as_if_nothing_had_happened(log)

    @pytest.mark.parametrize(
        "error", [ConnectionResetError(), ConnectionDoesNotExistError("lost"), TimeoutError()]
    )
    async def test_a_commit_of_unknown_outcome(self, log: Log, error: Exception) -> None:
        epoch = await log.own()
        store = HookedPool.store(log, once("committed", failing(error)))
        batch = log.batch(*life(log.run()))
        written = await store.write(batch, epoch, None)
        assert (written.from_offset, written.next_offset) == (4, 4), "all of it had been committed"
        assert (written.records, written.outgoing) == (0, [])
        assert [offset for offset, _ in await store.emitted_between(log.topic, 0, 0, 4, 9)] == [
            0,
            3,
        ]
        assert await log.dispositions() == [("applied", None)] * 4
        assert await log.activity() == {"succeeded": 1}

    async def test_a_backend_that_is_killed(self, log: Log) -> None:
        async def kill(step: str, connection: Connection) -> None:
            await log.look.execute("SELECT pg_terminate_backend($1)", connection.get_server_pid())

        epoch = await log.own()
        for step, partition in (("copy event_log", 0), ("committed", 1), ("lock_position", 2)):
            epoch = await log.own(partition)
            store = HookedPool.store(log, once(step, kill))
            records = life(log.run(f"killed-{partition}"))
            written = await store.write(log.batch(*records, partition=partition), epoch, None)
            assert written.next_offset == 4
        assert await log.activity() == await log.states() == {"succeeded": 3}

    async def test_a_deadlock(self, log: Log, database: str) -> None:
        """Somebody locks two executions in the other order; the store gives way and comes back."""
        one, other = sorted((log.run("a"), log.run("b")), key=lambda run: run.execution_id)
        await log.write(one.requested(), other.requested())
        steps: list[str] = []

        async def impatient(step: str, connection: Connection) -> None:
            steps.append(step)
            if step == "lock_position":
                await connection.execute("SET LOCAL deadlock_timeout = '20ms'")

        lock = "SELECT 1 FROM executions WHERE execution_id = $1 FOR UPDATE"
        rival = await asyncpg.connect(database)
        transaction = rival.transaction()
        await transaction.start()
        await rival.execute(lock, other.execution_id)
        batch = log.batch(one.started(), other.started(), start=2)
        writing = asyncio.ensure_future(HookedPool.store(log, impatient).write(batch, 1, None))
        await _waiting(log)
        await rival.execute(lock, one.execution_id)
        await transaction.rollback()
        await rival.close()
        assert (await writing).records == 2
        assert steps.count("lock_position") > 1
        assert await log.activity() == await log.states() == {"running": 2}

    async def test_what_does_not_pass_is_raised_in_the_end(self, log: Log) -> None:
        attempts = []

        async def hook(step: str, connection: Connection) -> None:
            if step == "lock_position":
                attempts.append(step)
                raise SerializationError("again")

        epoch = await log.own()
        with pytest.raises(SerializationError):
            await HookedPool.store(log, hook).write(log.batch(log.run().requested()), epoch, None)
        assert len(attempts) == ATTEMPTS
        assert await log.fetch("event_log") == []

    async def _as_if_nothing_had_happened(self, log: Log) -> None:
        assert await log.dispositions() == [("applied", None)] * 9
        columns = "state, ordinal, version"
        assert await log.fetch("executions", columns, "ordinal, state") == [
            ("pending", 1, 1),
            ("succeeded", 4, 4),
            ("succeeded", 4, 4),
        ]
        assert await log.activity() == await log.states()
        assert await log.fetch("positions", "next_offset") == [(9,)]


class TestPoison:
    """Whatever a record holds, it gets its row, and those around it are folded."""

    async def test_what_is_no_event_is_quarantined_among_its_neighbours(self, log: Log) -> None:
        good = log.run().requested()
        started = log.run().started()
        bad = [
            started._replace(value=value)
            for value in (
                None,
                b"",
                b"{",
                b"[" * 10_000 + b"]" * 10_000,
                b'{"occurred_at": "2026-01-15T09:30:00Z", "details": {"a": "\\u0000"}}',
                b'{"occurred_at": "2026-01-15T09:30:00Z", "details": {"a": "\\ud800"}}',
                b'{"occurred_at": "2026-01-15T09:30:00Z", "details": {"\\ud800": 1}}',
                b'{"occurred_at": "2026-01-15T09:30:00Z", "details": {"a": 1e400}}',
                b'{"occurred_at": "2026-01-15T09:30:00Z", "details": {"a": 9223372036854775808}}',
                b'{"occurred_at": "0001-01-01T00:00:00Z"}',
                b'{"occurred_at": "9999-12-31T23:59:59Z"}',
                b'{"occurred_at": "\\u0000\xff"}',
                b"\x00" * 900_000,
                b"\xff" * 2_000_000,
            )
        ]
        headers = [*started.headers, ("ce_id", b"2")]
        bad += [started._replace(headers=headers)]
        for name in ("ce_id", "ce_source", "ce_subject", "ce_tenantid", "ce_time", "ce_sequence"):
            for value in (b"\xff\xfe", b"a\x00b", b"\xed\xa0\x80"):
                others = [(held, text) for held, text in started.headers if held != name]
                bad += [started._replace(headers=[*others, (name, value)])]
        bad += [started._replace(headers=[], key=b"\x00\xff")]
        written = await log.write(good, *bad, started)
        dispositions = [disposition for disposition, _ in await log.dispositions()]
        assert dispositions == ["applied", *["quarantined"] * len(bad), "applied"]
        assert len(written.outgoing) == len(bad) + 1
        assert await log.fetch("positions", "next_offset") == [(len(bad) + 2,)]
        reasons = [reason or "" for _, reason in await log.dispositions()]
        assert not any(reason.startswith("unstorable") for reason in reasons)

    @settings(law, max_examples=EXAMPLES // 2)
    @given(st.lists(encodings(), min_size=1, max_size=12))
    async def test_whatever_the_contract_accepts_is_stored(
        self, pool: asyncpg.Pool, look: Connection, made: list[tuple[EventData, dict[str, Any]]]
    ) -> None:
        log = Log(pool, look)
        encoded = [encode(data, **arguments) for data, arguments in made]
        records = [Record("", 0, 0, 10**12, one.key, one.value, one.headers) for one in encoded]
        await log.write(*records)
        assert not [
            (disposition, reason)
            for disposition, reason in await log.dispositions()
            if disposition == "quarantined"
        ]


class TestTwoPartitions:
    """One execution whose events come through two partitions, folded by two workers at once."""

    async def test_both_insert_it(self, log: Log) -> None:
        run = log.run()
        attempts = await self._together(
            log,
            [run.requested(), run.started(resources=(TASK,))],
            [run.progressed(percent=50, source=K8S), run.succeeded(source=K8S)],
        )
        assert attempts == 3, "one of them had to fold again"
        [(state, ordinal)] = await log.fetch("executions", "state, ordinal")
        assert (state, ordinal) == ("succeeded", 4)

    async def test_both_update_it(self, log: Log) -> None:
        run = log.run()
        await log.write(run.requested())
        attempts = await self._together(
            log, [run.started(resources=(TASK,))], [run.failed(source=K8S)], start=1
        )
        assert attempts == 3, "one of them had to fold again"
        [(state, ordinal)] = await log.fetch("executions", "state, ordinal")
        assert (state, ordinal) == ("failed", 3)

    async def test_many_at_once_end_right(self, log: Log, pool: asyncpg.Pool) -> None:
        runs = [log.run(f"k-{number}") for number in range(6)]
        stories = [
            [
                [run.requested() for run in runs],
                [run.progressed(percent=10) for run in runs],
                [run.succeeded() for run in runs[:3]],
            ],
            [
                [run.started(source=K8S, resources=(TASK,)) for run in runs],
                [run.progressed(at=4, percent=90, source=K8S) for run in runs],
                [run.failed(source=K8S) for run in runs[3:]],
            ],
        ]

        async def write(partition: int) -> None:
            store, epoch, start = Store(pool, log.topics), await log.own(partition), 0
            for records in stories[partition]:
                batch = log.batch(*records, start=start, partition=partition)
                start = (await store.write(batch, epoch, None)).next_offset

        await asyncio.gather(write(0), write(1))
        assert await log.activity() == await log.states() == {"succeeded": 3, "failed": 3}
        numbered = await log.fetch("event_log", "execution_id, ordinal", "1, 2")
        assert numbered == [
            (execution, ordinal)
            for execution in sorted({name for name, _ in numbered})
            for ordinal in range(1, 6)
        ]
        for (stored,) in await log.fetch("executions", "body::text"):
            assert body.load(stored).fact("percent") == 90
            assert len(body.load(stored).resources) == 1

    async def _together(
        self, log: Log, left: list[Record], right: list[Record], start: int = 0
    ) -> int:
        """Write a batch to each of two partitions, both read before either writes; the attempts."""
        both_have_read = asyncio.Barrier(2)
        attempts: list[str] = []

        async def hook(step: str, connection: Connection) -> None:
            if step == "load_executions":
                attempts.append(step)
                if len(attempts) <= 2:
                    await both_have_read.wait()

        batches = [
            log.batch(*left, partition=0, start=start),
            log.batch(*right, partition=1, start=start),
        ]
        epochs = [await log.own(0), await log.own(1, beginning=start)]
        written = await asyncio.gather(
            *(
                HookedPool.store(log, hook).write(batch, epoch, None)
                for batch, epoch in zip(batches, epochs, strict=True)
            )
        )
        assert offsets(written) == [(start, start + len(left)), (start, start + len(right))]
        assert await log.activity() == await log.states()
        ordinals = [ordinal for (ordinal,) in await log.fetch("event_log", "ordinal")]
        assert ordinals == list(range(1, len(ordinals) + 1))
        return len(attempts)


@pytest.fixture(scope="module")
async def poison(look: Connection) -> AsyncIterator[None]:
    """What says 'poison' is refused, as text would be that Postgres cannot store."""
    await look.execute("""
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF NEW::text LIKE '%poison%' THEN
                RAISE EXCEPTION 'no' USING ERRCODE = 'untranslatable_character';
            END IF;
            RETURN NEW;
        END
        $$;
        CREATE TRIGGER refuse BEFORE INSERT ON event_log
            FOR EACH ROW WHEN (NEW.event_id IS NOT NULL) EXECUTE FUNCTION refuse();
        CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON executions
            FOR EACH ROW EXECUTE FUNCTION refuse();""")
    yield
    await look.execute("DROP FUNCTION refuse() CASCADE")


@pytest.mark.usefixtures("poison")
class TestUnstorable:
    """The contract lets nothing through that Postgres refuses; a trigger stands in for what it missed."""

    @pytest.mark.parametrize("bad", [{"id": "poison"}, {"message": "poison"}])
    async def test_it_is_found_and_quarantined_and_its_neighbours_are_folded(
        self, log: Log, bad: dict[str, Any]
    ) -> None:
        runs = [log.run(f"k-{number}") for number in range(7)]
        records = [run.progressed(percent=5) for run in runs]
        for number in (0, 4, 6):
            records[number] = runs[number].progressed(**{"message": "fine"} | bad)
        written = await log.write(runs[4].requested(), *records)
        assert await log.dispositions() == [
            ("applied", None),
            ("quarantined", UNSTORABLE),
            *[("applied", "inferred")] * 3,
            ("quarantined", UNSTORABLE),
            ("applied", "inferred"),
            ("quarantined", UNSTORABLE),
        ]
        assert await log.activity() == await log.states() == {"pending": 1, "running": 4}
        assert await log.fetch("positions", "next_offset") == [(8,)]
        quarantined = [sent for sent in written.outgoing if sent.topic == log.topics.quarantine]
        assert [(sent.key, sent.value) for sent in quarantined] == [
            (records[number].key, records[number].value) for number in (0, 4, 6)
        ]

    async def test_it_is_found_though_connections_are_lost_meanwhile(self, log: Log) -> None:
        attempts: list[str] = []

        async def hook(step: str, connection: Connection) -> None:
            if step == "lock_position":
                attempts.append(step)
                if len(attempts) in (2, 4):
                    raise ConnectionResetError

        epoch = await log.own()
        records = [log.run(f"k-{number}").requested() for number in range(3)]
        records[1] = log.run("k-1").requested(id="poison")
        written = await HookedPool.store(log, hook).write(log.batch(*records), epoch, None)
        assert written.next_offset == 3
        assert [disposition for disposition, _ in await log.dispositions()] == [
            "applied",
            "quarantined",
            "applied",
        ]


UNSTORABLE = "unstorable: value: Postgres refuses a value of this record"


class TestRows:
    async def test_the_hash_is_of_length_prefixed_key_headers_and_value(self, log: Log) -> None:
        raw = log.run().requested()
        await log.write(
            raw, raw._replace(key=None), raw._replace(value=None), raw._replace(key=b"")
        )
        for key, headers, value, digest in await log.fetch(
            "event_log", "key, headers, value, sha256", '"offset"'
        ):
            framed = b"".join(map(_framed, (key, headers, value)))
            assert digest == hashlib.sha256(framed).digest()
            assert value in (raw.value, None)
        assert orjson.loads(headers) == [
            [name, None if held is None else held.decode()] for name, held in raw.headers
        ]

    async def test_a_record_is_in_the_partition_of_its_month(self, log: Log) -> None:
        now = datetime.now(UTC)
        months = [now, _next_month(now), _next_month(_next_month(now)), minute(0)]
        run = log.run()
        await log.write(*(run.requested().recorded_at(moment) for moment in months))
        tables = await log.fetch("event_log", "tableoid::regclass::text", '"offset"')
        assert tables == [
            *((f"event_log_{moment:%Y_%m}",) for moment in months[:3]),
            ("event_log_default",),
        ]

    async def test_json_is_stored_byte_for_byte(self, log: Log) -> None:
        labels = {"z": "é\U0001f600", "a": '"\\', "empty": ""}
        parameters = {"b": [1, 2.5, True, None, -0.0, 2**53 - 1], "a": {"\u2028": "\x7f"}}
        run = log.run(parameters=parameters)
        batch = log.batch(run.requested(labels=labels))
        await log.store.write(batch, await log.own(), None)
        [(_, expected)] = fold(batch.decoded, {}, log.topics).executions
        [(told, stored)] = await log.fetch("executions", "labels::text, body::text")
        assert told.encode() == orjson.dumps(labels)
        assert stored.encode() == body.dump(expected)
        assert body.load(stored).fact("parameters") == parameters

    async def test_the_longest_names_of_the_contract_fit(self, log: Log) -> None:
        log.tenant = (log.tenant * 9)[:128]
        run = log.run("\U0001f600" * 255)
        ids = ["".join(map(chr, range(start, start + 512))) for start in (0x10000, 0x20000)]
        resources = tuple(Resource("k" * 64, id_, "p" * 64, "r" * 64, "s" * 64) for id_ in ids)
        source = "/" + "\U0001f600" * 511
        await log.write(
            run.requested(), run.started(resources=resources, source=source, id="\U0001f600" * 512)
        )
        assert sorted(row[0] for row in await log.fetch("resources", "id")) == ids
        assert await log.dispositions() == [("applied", None)] * 2

    async def test_the_ends_of_time_fit(self, log: Log) -> None:
        run, year = log.run(), 525_600
        first, last = -minute(0).timestamp() / 60, 174 * year - 20_000
        await log.write(run.requested(at=first), run.succeeded(at=last))
        assert await log.fetch("executions", "first_recorded_at") == [
            (datetime(1970, 1, 1, tzinfo=UTC),)
        ]

    async def test_sessions_do_not_hold_what_they_lock(self, pool: asyncpg.Pool) -> None:
        async with pool.acquire() as connection:
            active = {
                name: await connection.fetchval("SELECT current_setting($1)", name)
                for name in SESSION
            }
        assert active == SESSION

    async def test_stored_records_are_what_was_sent(self, log: Log) -> None:
        headers = [("x", b"\xff\x00"), ("x", None), ("", b"")]
        raw = log.run().requested()._replace(headers=headers, key=b"\xfe")
        written = await log.write(raw)
        [(packed,)] = await log.fetch("event_log", "emitted")
        assert unpack(packed) == written.outgoing
        assert written.outgoing[0].headers[:3] == headers


async def _waiting(log: Log) -> None:
    """Until somebody waits for a lock in this database."""
    await until(
        log.look,
        "EXISTS (SELECT FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock')",
    )


def _framed(part: bytes | None) -> bytes:
    return struct.pack(">i", -1) if part is None else struct.pack(">i", len(part)) + part


def _next_month(moment: datetime) -> datetime:
    return moment.replace(day=1) + timedelta(days=32)
