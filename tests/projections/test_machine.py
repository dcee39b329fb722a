"""Whatever happens, and in whatever order: what the store holds is what the log says.

The log is a list for each of two partitions that carry the same executions; the store is the real one
on a real Postgres. Hypothesis chooses steps and checks everything in `HOLDS` after each; of a run that
fails it prints the steps, shortened. `steps.json` has those that once failed, be it that the store was
broken on purpose; they are taken first.

A database is restored by putting its rows back to what they were when the backup was made; what went
out stays out. Operators stop every worker before they restore, so no older owner is left then. With
that, two partitions may be folded in another order than before: a completion of what is folded anew
can differ from the one that went out, and only what goes out afterwards is checked.
"""

import asyncio
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial, wraps
from itertools import count
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

import asyncpg
import orjson
import pytest
import stamina
from asyncpg.exceptions import ConnectionDoesNotExistError
from hypothesis import note, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

from milepost.projections import body
from milepost.projections.execution import Execution, Outcome, evolve
from milepost.projections.outgoing import Outgoing, unpack
from milepost.projections.store import ATTEMPTS, Batch, Fenced, OffsetGap, Store, Written
from milepost.schemas.binding import Event, decode
from milepost.schemas.values import RELEASED, TERMINAL
from projections.histories import law
from projections.reports import KINDS, report
from projections.runs import Record, Run, minute
from projections.stored import STEPS, TABLES, Connection, HookedPool, Log, connected, failing, once

STEPS_EACH: Final = 30
PARTITIONS: Final = (0, 1)
TENANTS: Final = ("", "-b")
KEYS: Final = ("k-1", "k-2")
ONCE_FAILED: Final[list[dict[str, Any]]] = json.loads(
    Path(__file__).with_name("steps.json").read_text()
)
RUNS: Final = int(os.environ.get("MILEPOST_TEST_RUNS", "100"))
# Milliseconds between two records of the log.
PACE: Final = 20_000

_partition = st.sampled_from(PARTITIONS)
_tenant = st.sampled_from(TENANTS)
_key = st.sampled_from(KEYS)
_told = st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 40)), min_size=1, max_size=4)
_number = st.integers(0, 40)
_few = st.integers(0, 6)
_step = st.sampled_from(STEPS)

Place = tuple[int, int]  # partition and offset
# Kinds and numbers of reports; lists in `steps.json`.
Tellings = Sequence[tuple[str, int]]
Identity = tuple[str, str]  # tenant and execution id


class Crash(Exception):
    """The worker is gone."""


@dataclass
class Side:
    """One partition: its log, and what its owner and its relay have come to."""

    records: list[Record] = field(default_factory=list)
    position: int = 0
    epoch: int | None = None
    zombies: list[int] = field(default_factory=list)
    handed: int = 0  # up to where everything was handed over to the relay
    sent: list[Outgoing] = field(default_factory=list)  # what was, from offset `begun` on
    begun: int = 0


class Held(NamedTuple):
    """What Postgres holds."""

    executions: dict[Identity, asyncpg.Record]
    log: list[asyncpg.Record]
    resources: list[tuple[Any, ...]]
    activity: dict[tuple[str, str], int]
    positions: dict[int, int]
    epochs: dict[int, int]


class Told(NamedTuple):
    """What the log says, folded in the order of the ordinals."""

    outcomes: dict[Place, Outcome]
    executions: dict[Identity, Execution]


class World(NamedTuple):
    """Where machines run."""

    runner: asyncio.Runner
    pool: asyncpg.Pool
    look: Connection


def step(**arguments: Any) -> Callable[[Callable[..., None]], Any]:
    """A rule that is noted, so that a run that failed can be put into `steps.json`."""

    def decorate(method: Callable[..., None]) -> Any:
        @wraps(method)
        def noted(self: "Machine", **given: Any) -> None:
            self.steps.append([method.__name__, given])
            method(self, **given)

        return cast(Any, rule)(**arguments)(noted)

    return decorate


class Machine(RuleBasedStateMachine):
    """Publishers, workers, a broker and a database, of which anything may go wrong at any time."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        self.log = Log(world.pool, world.look)
        self.tenants = [self.log.tenant + name for name in TENANTS]
        self.sides = [Side() for _ in PARTITIONS]
        self.withheld: list[Record] = []
        self.clock = count(int(minute(0).timestamp() * 1_000), PACE)
        self.steps: list[Any] = []
        self.backup: tuple[dict[str, list[asyncpg.Record]], list[int]] | None = None
        self.before: Held | None = None

    # Publishers and the broker

    @step(partition=_partition, tenant=_tenant, key=_key, told=_told)
    def publish(self, partition: int, tenant: str, key: str, told: Tellings) -> None:
        """Something new is reported of an execution, through either partition."""
        for record in self._reports(tenant, key, told):
            self._append(partition, record)

    @step(tenant=_tenant, key=_key, told=_told)
    def withhold(self, tenant: str, key: str, told: Tellings) -> None:
        """A publisher has something to report and cannot reach the broker."""
        self.withheld += self._reports(tenant, key, told)

    @step(partition=_partition)
    def let_go(self, partition: int) -> None:
        """What was withheld comes, last first, after everything that happened meanwhile."""
        for record in reversed(self.withheld):
            self._append(partition, record)
        self.withheld.clear()

    @step(partition=_partition, number=_number)
    def repeat(self, partition: int, number: int) -> None:
        """A publisher does not hear that the broker has it, and sends it again."""
        published = [record for side in self.sides for record in side.records]
        if published:
            self._append(partition, published[number % len(published)])

    @step(partition=_partition, value=st.sampled_from([None, "", "{", "[]", "\0"]))
    def publish_nonsense(self, partition: int, value: str | None) -> None:
        encoded = None if value is None else value.encode()
        self._append(partition, Record("", 0, 0, 0, None, encoded, []))

    # Workers

    @step(partition=_partition, back=_few, ahead=_number)
    def deliver(self, partition: int, back: int, ahead: int) -> None:
        """A batch, of which some may have been folded already, is folded."""
        self._write(partition, ahead, self.log.store, back)

    @step(tenant=_tenant, key=_key, told=_told, other=_told, ahead=_number)
    def meet(self, tenant: str, key: str, told: Tellings, other: Tellings, ahead: int) -> None:
        """Both partitions have news of one execution, and two workers fold at the same time."""
        epochs = [self._own(partition) for partition in PARTITIONS]
        for partition, news in enumerate((told, other)):
            for record in self._reports(tenant, key, news):
                self._append(partition, record)
        writes = [
            self.log.store.write(self._batch(partition, ahead), epoch, side.handed)
            for partition, (epoch, side) in enumerate(zip(epochs, self.sides, strict=True))
        ]

        async def both() -> list[Written]:
            return await asyncio.gather(*writes)

        for partition, written in enumerate(self.world.runner.run(both())):
            self._committed(partition, written)

    @step(partition=_partition, ahead=_number, at=_step)
    def crash(self, partition: int, ahead: int, at: str) -> None:
        """The worker ends after this step of its transaction, the commit included."""
        side = self.sides[partition]
        store = HookedPool.store(self.log, once(at, failing(Crash())))
        try:
            self._write(partition, ahead, store)
        except Crash:
            if at == "committed":
                side.position = self._end(partition, ahead)
            self._leave(side)

    @step(partition=_partition, ahead=_number, at=_step)
    def lose_connection(self, partition: int, ahead: int, at: str) -> None:
        """The connection breaks after this step; after the commit nobody knows that it succeeded."""
        lost = failing(ConnectionDoesNotExistError("the server is away"))
        self._write(partition, ahead, HookedPool.store(self.log, once(at, lost)))

    @step(partition=_partition)
    def rebalance(self, partition: int) -> None:
        """Another worker takes the partition over; the present one does not know yet."""
        self._leave(self.sides[partition])
        self._own(partition)

    @step(partition=_partition, ahead=_number)
    def rebalance_meanwhile(self, partition: int, ahead: int) -> None:
        """Another worker takes the partition over while the present one writes."""
        side, epoch = self.sides[partition], self._own(partition)
        write = self.log.store.write(self._batch(partition, ahead), epoch, side.handed)

        async def race() -> tuple[Any, Any]:
            taken = self.log.store.acquire(self.log.topic, partition, 0)
            return tuple(await asyncio.gather(write, taken, return_exceptions=True))  # type: ignore[return-value]

        written, taken = self.world.runner.run(race())
        if isinstance(written, Written):
            # Committed first, but the worker is gone before it handed anything over.
            assert taken.next_offset in (side.position, written.next_offset)
            side.position = written.next_offset
        else:
            assert isinstance(written, Fenced)
            assert taken.next_offset == side.position
        self._leave(side)
        self._own(partition)

    @step(partition=_partition, ahead=_number, number=_few)
    def zombie(self, partition: int, ahead: int, number: int) -> None:
        """A worker that has lost the partition wakes up in the middle of its work."""
        self._own(partition)
        zombies = self.sides[partition].zombies
        if zombies:
            write = self.log.store.write(
                self._batch(partition, ahead), zombies[number % len(zombies)], None
            )
            with pytest.raises(Fenced):
                self.world.runner.run(write)

    @step(partition=_partition, gap=st.integers(1, 3))
    def leave_a_gap(self, partition: int, gap: int) -> None:
        """Records between the position and the batch are missing."""
        epoch = self._own(partition)
        start = self.sides[partition].position + gap
        with pytest.raises(OffsetGap):
            self.world.runner.run(
                self.log.store.write(self.log.batch(start=start, partition=partition), epoch, None)
            )

    # The database

    @step()
    def back_up(self) -> None:
        """The database as it is, one transaction's view."""

        async def read() -> dict[str, list[asyncpg.Record]]:
            return {table: await self._rows(table) for table in TABLES}

        self.backup = self.world.runner.run(read()), [side.position for side in self.sides]

    @step()
    def restore(self) -> None:
        """The database goes back to the backup; everything since then is handed over again."""
        if self.backup is None:
            return
        rows, positions = self.backup

        async def write() -> None:
            async with self.log.look.transaction():
                for table in TABLES:
                    await self.log.look.execute(
                        f"DELETE FROM {table} WHERE {self._mine(table)}",  # noqa: S608
                        self._whose(table),
                    )
                    if rows[table]:
                        names = sorted({*rows[table][0].keys()} - {"sha256"})
                        records = [[row[name] for name in names] for row in rows[table]]
                        await self.log.look.copy_records_to_table(
                            table, columns=names, records=records
                        )

        self.world.runner.run(write())
        for side, position in zip(self.sides, positions, strict=True):
            side.position, side.begun, side.sent = position, side.handed, []
            side.epoch, side.zombies = None, []
        self.before = None

    @invariant()
    def everything_holds(self) -> None:
        held = self.world.runner.run(self._held())
        told = _folded(held.log, [side.records for side in self.sides])
        for holds in HOLDS:
            holds(self, held, told)
        self.before = held

    def teardown(self) -> None:
        note(f"steps.json: {json.dumps(self.steps)}")

    # How it is done

    def _reports(self, tenant: str, key: str, told: Tellings) -> list[Record]:
        run = Run(self.log.tenant + tenant, key)
        return [report(run, kind, number) for kind, number in told]

    def _append(self, partition: int, record: Record) -> None:
        records = self.sides[partition].records
        records.append(
            record._replace(
                topic=self.log.topic,
                partition=partition,
                offset=len(records),
                timestamp=next(self.clock),
            )
        )

    def _own(self, partition: int) -> int:
        """The epoch of the partition's owner, a new one if there is none: it relays what is left."""
        side = self.sides[partition]
        if side.epoch is None:
            position = self.world.runner.run(self.log.store.acquire(self.log.topic, partition, 0))
            assert position.next_offset == side.position
            side.epoch = position.epoch
            self._relay_stored(partition)
        return side.epoch

    @staticmethod
    def _leave(side: Side) -> None:
        if side.epoch is not None:
            side.zombies.append(side.epoch)
        side.epoch = None

    def _end(self, partition: int, ahead: int) -> int:
        side = self.sides[partition]
        return min(side.position + ahead, len(side.records))

    def _batch(self, partition: int, ahead: int, back: int = 0) -> Batch:
        side = self.sides[partition]
        start = max(side.position - back, 0)
        records = side.records[start : self._end(partition, ahead)]
        return self.log.batch(*records, start=start, partition=partition)

    def _write(self, partition: int, ahead: int, store: Store, back: int = 0) -> None:
        epoch = self._own(partition)
        batch = self._batch(partition, ahead, back)
        handed = self.sides[partition].handed
        self._committed(partition, self.world.runner.run(store.write(batch, epoch, handed)))

    def _committed(self, partition: int, written: Written) -> None:
        """As the processor hands over: what follows directly, else what the log has."""
        side = self.sides[partition]
        assert written.next_offset >= side.position
        side.position = written.next_offset
        if written.from_offset == side.handed:
            side.sent += written.outgoing
            side.handed = written.next_offset
        else:
            self._relay_stored(partition)

    def _relay_stored(self, partition: int) -> None:
        side = self.sides[partition]
        if side.handed < side.position:
            rows = self.world.runner.run(
                self.log.store.emitted_between(
                    self.log.topic, partition, side.handed, side.position, 1_000
                )
            )
            side.sent += [record for _, records in rows for record in records]
            side.handed = side.position

    async def _held(self) -> Held:
        executions, log, resources, activity, positions = [
            await self._rows(table)
            for table in ("executions", "event_log", "resources", "tenant_activity", "positions")
        ]
        counts: Counter[tuple[str, str]] = Counter()
        for row in activity:
            for state in _STATES:
                counts[row["tenant"], state] += row[state]
        return Held(
            {(row["tenant"], str(row["execution_id"])): row for row in executions},
            log,
            sorted(_resource(row) for row in resources),
            {name: number for name, number in counts.items() if number},
            {row["partition"]: row["next_offset"] for row in positions},
            {row["partition"]: row["epoch"] for row in positions},
        )

    async def _rows(self, table: str) -> list[asyncpg.Record]:
        return await self.log.look.fetch(
            f"SELECT * FROM {table} WHERE {self._mine(table)}",  # noqa: S608
            self._whose(table),
        )

    @staticmethod
    def _mine(table: str) -> str:
        return f"{'topic' if table in ('event_log', 'positions') else 'tenant'} = ANY($1)"

    def _whose(self, table: str) -> list[str]:
        return [self.log.topic] if table in ("event_log", "positions") else self.tenants


_STATES: Final = ("pending", "running", *sorted(TERMINAL))


def _folded(rows: list[asyncpg.Record], log: list[list[Record]]) -> Told:
    told = Told({}, {})
    for row in sorted(rows, key=lambda row: row["ordinal"] or 0):
        place = (row["partition"], row["offset"])
        event = decode(log[place[0]][place[1]])
        if isinstance(event, Event):
            identity = (event.tenant, event.execution_id)
            outcome = evolve(told.executions.get(identity), event)
            told.outcomes[place] = outcome
            told.executions[identity] = outcome.execution
    return told


def _resource(row: asyncpg.Record) -> tuple[Any, ...]:
    names = ("tenant", "provider", "region", "kind", "id")
    told = (row["status"], row["released"], row["attributes"], row["occurred_at"].timestamp())
    return (*(row[name] for name in names), str(row["execution_id"]), *map(str, told))


def each_folded_record_is_in_the_log_once(machine: Machine, held: Held, told: Told) -> None:
    rows = Counter((row["partition"], row["offset"]) for row in held.log)
    assert rows == Counter(
        (partition, offset)
        for partition, side in enumerate(machine.sides)
        for offset in range(side.position)
    )


def the_log_has_the_records_as_they_are(machine: Machine, held: Held, told: Told) -> None:
    for row in held.log:
        record = machine.sides[row["partition"]].records[row["offset"]]
        recorded = round(row["recorded_at"].timestamp() * 1_000)
        headers = [
            (name, None if value is None else value.encode("latin-1"))
            for name, value in orjson.loads(row["headers"])
        ]
        assert (row["key"], row["value"], headers) == (record.key, record.value, record.headers)
        assert recorded == record.timestamp


def positions_are_where_batches_ended_and_never_go_back(
    machine: Machine, held: Held, told: Told
) -> None:
    assert all(
        held.positions.get(partition, 0) == side.position
        for partition, side in enumerate(machine.sides)
    )
    for partition, epoch in (machine.before.epochs if machine.before else {}).items():
        assert held.epochs[partition] >= epoch
        assert machine.before
        assert held.positions[partition] >= machine.before.positions[partition]


def each_record_has_the_disposition_of_the_fold(machine: Machine, held: Held, told: Told) -> None:
    for row in held.log:
        outcome = told.outcomes.get((row["partition"], row["offset"]))
        if outcome is None:
            assert (row["disposition"], row["tenant"]) == ("quarantined", None)
            assert row["ordinal"] is row["execution_id"] is None
        else:
            execution = outcome.execution
            assert (row["disposition"], row["reason"]) == (outcome.disposition, outcome.reason)
            assert (row["tenant"], str(row["execution_id"]), row["ordinal"]) == (
                execution.tenant, execution.execution_id, execution.ordinal,
            )  # fmt: skip


def ordinals_count_an_executions_records(machine: Machine, held: Held, told: Told) -> None:
    ordinals: dict[Identity, list[int]] = {}
    for row in held.log:
        if row["tenant"] is not None:
            name = (row["tenant"], str(row["execution_id"]))
            ordinals.setdefault(name, []).append(row["ordinal"])
    assert ordinals.keys() == held.executions.keys()
    for name, numbers in ordinals.items():
        assert sorted(numbers) == list(range(1, held.executions[name]["ordinal"] + 1))


def executions_are_what_their_records_come_to(machine: Machine, held: Held, told: Told) -> None:
    assert held.executions.keys() == told.executions.keys()
    for name, row in held.executions.items():
        execution = told.executions[name]
        assert row["body"].encode() == body.dump(execution)
        columns = (row["state"], row["version"], row["ordinal"])
        assert columns == (execution.state, execution.version, execution.ordinal)


def versions_never_go_back_nor_beyond_ordinals(machine: Machine, held: Held, told: Told) -> None:
    for row in held.executions.values():
        assert 1 <= row["version"] <= row["ordinal"]
    for name, row in (machine.before.executions if machine.before else {}).items():
        assert held.executions[name]["version"] >= row["version"]
        assert held.executions[name]["ordinal"] >= row["ordinal"]


def nothing_leaves_a_terminal_state(machine: Machine, held: Held, told: Told) -> None:
    for name, row in (machine.before.executions if machine.before else {}).items():
        assert row["state"] not in TERMINAL or held.executions[name]["state"] == row["state"]


def activity_is_the_count_of_executions(machine: Machine, held: Held, told: Told) -> None:
    states = Counter((name[0], row["state"]) for name, row in held.executions.items())
    assert held.activity == states


def resources_are_those_of_the_executions(machine: Machine, held: Held, told: Told) -> None:
    expected = []
    for execution in told.executions.values():
        for (kind, id_, provider, region), facts in execution.resources.items():
            names = (execution.tenant, provider, region, kind, id_, execution.execution_id)
            status = facts["status"][1] if "status" in facts else None
            attributes = facts["attributes"][1] if "attributes" in facts else None
            encoded = None if attributes is None else orjson.dumps(attributes).decode()
            seen = facts["seen"][0][0] / 1e6
            told_of = (status, status == RELEASED, encoded, seen)
            expected.append((*names, *map(str, told_of)))
    assert held.resources == sorted(expected)


def each_thing_is_emitted_once(machine: Machine, held: Held, told: Told) -> None:
    emitted: Counter[tuple[str, str]] = Counter()
    for row in held.log:
        records = unpack(row["emitted"] or [])
        outcome = told.outcomes.get((row["partition"], row["offset"]))
        assert len(records) == (1 if outcome is None else len(outcome.emitted))
        for record, what in zip(records, outcome.emitted if outcome else (), strict=False):
            assert record.key == row["key"]
            emitted[row["tenant"] + str(row["execution_id"]), what] += 1
    assert set(emitted.values()) <= {1}
    for (tenant, id_), row in held.executions.items():
        assert emitted[tenant + id_, "completion"] == (row["state"] in TERMINAL)


def what_was_emitted_was_handed_over_once_and_in_order(
    machine: Machine, held: Held, told: Told
) -> None:
    for partition, side in enumerate(machine.sides):
        rows = [row for row in held.log if row["partition"] == partition and row["emitted"]]
        rows.sort(key=lambda row: int(row["offset"]))
        assert side.sent == [
            record
            for row in rows
            if side.begun <= row["offset"] < side.handed
            for record in unpack(row["emitted"])
        ]


HOLDS: Final = (
    each_folded_record_is_in_the_log_once,
    the_log_has_the_records_as_they_are,
    positions_are_where_batches_ended_and_never_go_back,
    each_record_has_the_disposition_of_the_fold,
    ordinals_count_an_executions_records,
    executions_are_what_their_records_come_to,
    versions_never_go_back_nor_beyond_ordinals,
    nothing_leaves_a_terminal_state,
    activity_is_the_count_of_executions,
    resources_are_those_of_the_executions,
    each_thing_is_emitted_once,
    what_was_emitted_was_handed_over_once_and_in_order,
)


@pytest.fixture
def world(database: str) -> Iterator[World]:
    with asyncio.Runner() as runner, stamina.set_testing(True, attempts=ATTEMPTS):
        pool = runner.run(connected(database))
        look = runner.run(asyncpg.connect(database))
        yield World(runner, pool, look)
        runner.run(look.close())
        runner.run(pool.close())


@pytest.mark.parametrize("failed", ONCE_FAILED, ids=lambda failed: str(failed["shows"]))
def test_what_once_failed(world: World, failed: dict[str, Any]) -> None:
    machine = Machine(world)
    for name, arguments in failed["steps"]:
        getattr(machine, name)(**arguments)
        machine.everything_holds()


def test_whatever_happens(world: World) -> None:
    run_state_machine_as_test(
        cast(type[Machine], partial(Machine, world)),
        settings=settings(law, max_examples=RUNS, stateful_step_count=STEPS_EACH),
    )
