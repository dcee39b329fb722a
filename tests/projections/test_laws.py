"""The laws of the fold, on generated histories.

The order of events and how often they come makes no difference to what is known of an execution, as
long as only one end is reported; the log alone decides everything.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise, permutations
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from milepost.projections import body
from milepost.projections.batch import Decoded, Folded, Identity, decode_all, fold
from milepost.projections.execution import LAWFUL, Disposition, Emit, Execution, evolve
from milepost.projections.resource import ResourceRow
from milepost.projections.view import render
from milepost.schemas.binding import Event, decode, encode
from milepost.schemas.events import EventData
from milepost.schemas.values import TERMINAL
from projections.histories import folded, histories, law, logs, republished
from projections.runs import TOPICS, Record, Run, event
from schemas.strategies import encodings


def lawful(execution: Execution) -> dict[str, Any]:
    """What must not depend on the order of an execution's records.

    Everything but what Milepost did and when: version, ordinal, first_recorded, the command, the
    cancellation request and the conflicts say what was folded first.
    """
    return {name: getattr(execution, name) for name in LAWFUL}


def told(execution: Execution) -> dict[str, Any]:
    """What must not even depend on when and where the records of its events are in the log."""
    everything = lawful(execution)
    del everything["recorded"]
    transitions = {
        state: (transition.inferred, transition.key, transition.reported)
        for state, transition in execution.transitions.items()
    }
    return everything | {"transitions": transitions}


class TestOneExecution:
    @law
    @given(histories(maximum=6))
    def test_every_order_gives_the_same(self, history: list[Record]) -> None:
        events = [event(record) for record in history]
        expected = lawful(_folded(events))
        for order in permutations(events):
            assert lawful(_folded(order)) == expected

    @law
    @given(st.data(), histories(maximum=20))
    def test_any_order_and_duplication_of_a_long_history_give_the_same(
        self, data: st.DataObject, history: list[Record]
    ) -> None:
        copies = data.draw(st.lists(st.sampled_from(history), max_size=10))
        shuffled = data.draw(st.permutations(history + copies))
        assert lawful(folded(shuffled)) == lawful(folded(history))

    @law
    @given(st.data(), histories(maximum=10, ends=3, states=1))
    def test_the_same_end_told_in_other_words_is_lawful_too(
        self, data: st.DataObject, history: list[Record]
    ) -> None:
        assert lawful(folded(data.draw(st.permutations(history)))) == lawful(folded(history))

    @law
    @given(st.data(), histories(maximum=10))
    def test_what_was_published_again_tells_the_same(
        self, data: st.DataObject, history: list[Record]
    ) -> None:
        assert told(folded(data.draw(republished(history)))) == told(folded(history))

    @law
    @given(histories(maximum=12, ends=4, states=3))
    def test_nothing_leaves_a_terminal_state(self, history: list[Record]) -> None:
        states = [folded(history[:end]).state for end in range(1, len(history) + 1)]
        for before, after in pairwise(states):
            assert after == before or before not in TERMINAL

    @law
    @given(st.data(), histories(maximum=12, ends=4, states=3))
    def test_each_thing_is_sent_out_once(self, data: st.DataObject, history: list[Record]) -> None:
        execution: Execution | None = None
        sent: Counter[Emit] = Counter()
        for record in data.draw(republished(history)):
            outcome = evolve(execution, event(record))
            execution = outcome.execution
            sent.update(outcome.emitted)
        assert execution is not None
        assert sent[Emit.COMPLETION] == execution.terminal
        assert sent[Emit.START] == (execution.command_event_id is not None)
        assert sent[Emit.CANCEL] <= (execution.cancellation is not None)

    @law
    @given(histories(maximum=12, ends=4, states=3))
    def test_evolve_changes_nothing_that_it_is_given(self, history: list[Record]) -> None:
        held: Execution | None = None
        for record in history:
            before = held and body.dump(held)
            after = evolve(held, event(record)).execution
            assert (held and body.dump(held)) == before
            held = after

    @law
    @given(histories(maximum=12, ends=4, states=3))
    def test_the_version_tells_every_change_of_the_view(self, history: list[Record]) -> None:
        views = [_news(folded(history[:end])) for end in range(1, len(history) + 1)]
        for before, after in pairwise(views):
            assert after == before or after["version"] > before["version"]

    @law
    @given(st.lists(encodings(), min_size=1, max_size=4))
    def test_what_is_stored_is_loaded_as_it_was(
        self, made: list[tuple[EventData, dict[str, Any]]]
    ) -> None:
        execution: Execution | None = None
        for number, (data, arguments) in enumerate(made):
            encoded = encode(data, **arguments)
            record = Record(
                TOPICS.events, 0, number, 10**12, encoded.key, encoded.value, encoded.headers
            )
            # Whoever it is of: `evolve` trusts its caller to bring the right execution.
            execution = evolve(execution, event(record)).execution
        assert execution is not None
        stored = body.dump(execution)
        assert vars(body.load(stored)) == vars(execution)
        assert body.dump(body.load(stored)) == stored
        assert body.dump(body.load(stored.decode())) == stored


class TestOneLog:
    @law
    @given(logs())
    def test_folded_twice_it_gives_the_same_bytes(self, log: list[Record]) -> None:
        first, second = _fold(log), _fold(log)
        assert _bodies(first) == _bodies(second)
        assert first.log == second.log
        assert first.outgoing == second.outgoing

    @law
    @given(st.data(), logs())
    def test_the_boundaries_of_batches_make_no_difference(
        self, data: st.DataObject, log: list[Record]
    ) -> None:
        cuts = sorted(data.draw(st.sets(st.integers(0, len(log)))) | {0, len(log)})
        parts = [log[start:end] for start, end in pairwise(cuts)]
        whole, by_parts = _fold(log), list(_fold_on(parts))
        assert _bodies(whole) == {
            identity: dumped for part in by_parts for identity, dumped in _bodies(part).items()
        }
        assert whole.log == [row for part in by_parts for row in part.log]
        assert whole.outgoing == [record for part in by_parts for record in part.outgoing]
        assert _resources([whole]) == _resources(by_parts)
        assert _counts([whole]) == _counts(by_parts)

    @law
    @given(logs())
    def test_every_record_has_one_disposition(self, log: list[Record]) -> None:
        rows = _fold(log).log
        assert [(row.partition, row.offset) for row in rows] == [
            (record.partition, record.offset) for record in log
        ]
        for row, record in zip(rows, log, strict=True):
            quarantined = row.disposition == Disposition.QUARANTINED
            assert row.disposition in set(Disposition)
            assert quarantined == (not isinstance(decode(record), Event))
            assert quarantined == (row.tenant is None) == (row.ordinal is None)
            assert (row.key, row.value) == (record.key, record.value)

    @law
    @given(logs())
    def test_ordinals_number_an_executions_records(self, log: list[Record]) -> None:
        executions: dict[tuple[str | None, str | None], list[int | None]] = {}
        for row in _fold(log).log:
            if row.ordinal is not None:
                executions.setdefault((row.tenant, row.execution_id), []).append(row.ordinal)
        for ordinals in executions.values():
            assert ordinals == list(range(1, len(ordinals) + 1))

    @law
    @given(st.data(), logs())
    def test_the_activity_of_tenants_is_the_count_of_their_executions(
        self, data: st.DataObject, log: list[Record]
    ) -> None:
        cut = data.draw(st.integers(0, len(log)))
        parts = list(_fold_on([log[:cut], log[cut:]]))
        held = {after.execution_id: after for part in parts for _, after in part.executions}
        counts = Counter((after.tenant, after.state) for after in held.values())
        assert _counts(parts) == counts

    @law
    @given(logs())
    def test_rows_come_in_the_order_of_their_keys(self, log: list[Record]) -> None:
        result = _fold(log)
        executions = [(after.execution_id, after.tenant) for _, after in result.executions]
        resources = [row[:6] for row in result.resources]
        tenants = [tenant for tenant, _ in result.activity]
        keyed: list[list[Any]] = [executions, resources, tenants]
        for keys in keyed:
            assert keys == sorted(set(keys))

    def test_an_execution_of_another_tenant_is_never_touched(self) -> None:
        mine, theirs = Run().requested(), Run(tenant="globex").requested()
        squatted = theirs._replace(key=mine.key, headers=_with(theirs, "ce_subject", mine.key))
        report = Run(tenant="globex").failed()
        report = report._replace(key=mine.key, headers=_with(report, "ce_subject", mine.key))
        result = _fold([mine, squatted, report])
        states = {after.tenant: after.state for _, after in result.executions}
        assert states == {"acme": "pending", "globex": "failed"}
        assert [row.disposition for row in result.log] == ["applied", "quarantined", "applied"]


def _news(execution: Execution) -> dict[str, Any]:
    """The view without when something was last told: hearing the same again is no news."""
    view = render(body.fields(execution))
    del view["recorded_at"]
    for repeated in filter(None, [*view["resources"], view["cancellation"]]):
        del repeated["occurred_at"]
    return view


def _folded(events: Iterable[Event]) -> Execution:
    execution: Execution | None = None
    for told_event in events:
        execution = evolve(execution, told_event).execution
    assert execution is not None
    return execution


def _fold(log: Sequence[Record]) -> Folded:
    return fold(decode_all(log), {}, TOPICS)


def _fold_on(parts: Iterable[Sequence[Record]]) -> Iterator[Folded]:
    """Batch after batch, with everything stored and loaded in between."""
    stored: dict[Identity, bytes] = {}
    for part in parts:
        decoded: list[Decoded] = decode_all(part)
        held = {identity: body.load(dumped) for identity, dumped in stored.items()}
        result = fold(decoded, held, TOPICS)
        stored |= _bodies(result)
        yield result


def _bodies(result: Folded) -> dict[Identity, bytes]:
    return {(after.execution_id, after.tenant): body.dump(after) for _, after in result.executions}


def _resources(parts: Iterable[Folded]) -> dict[tuple[Any, ...], ResourceRow]:
    """The table `resources` after upserting; when a row was written is the batch's affair."""
    return {row[:6]: row._replace(recorded=0) for part in parts for row in part.resources}


def _counts(parts: Iterable[Folded]) -> Counter[tuple[str, str]]:
    counts: Counter[tuple[str, str]] = Counter()
    for part in parts:
        for tenant, activity in part.activity:
            for state, change in activity.counts.items():
                counts[tenant, state] += change
    return Counter({name: count for name, count in counts.items() if count})


def _with(record: Record, name: str, value: bytes | None) -> list[tuple[str, bytes | None]]:
    return [(header, value if header == name else held) for header, held in record.headers]
