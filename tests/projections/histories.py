"""Hypothesis strategies: what publishers may report of executions, in small domains so that keys meet.

`MILEPOST_TEST_EXAMPLES` says how many examples each law is tried on.
"""

import os
from collections.abc import Sequence
from typing import Any, Final

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from milepost.projections.execution import Execution, evolve
from milepost.schemas.identifiers import parameters_digest
from milepost.schemas.values import TERMINAL, Expectations, Failure, Resource
from projections.runs import ECS, K8S, TOPICS, Record, Run, event, placed

EXAMPLES: Final = int(os.environ.get("MILEPOST_TEST_EXAMPLES", "50"))
law: Final = settings(
    max_examples=EXAMPLES,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)

ENDS: Final = tuple(sorted(state.value for state in TERMINAL))
_resources = st.lists(
    st.builds(
        Resource,
        kind=st.just("pod"),
        id=st.sampled_from("ab"),
        region=st.none() | st.just("eu"),
        status=st.none() | st.sampled_from(["up", "released"]),
        attributes=st.none() | st.dictionaries(st.just("cpu"), st.integers(0, 2)),
    ),
    max_size=3,
).map(tuple)
_some = st.none() | _resources
_text = st.none() | st.sampled_from(["", "x", "y"])
_name = st.none() | st.sampled_from(["eva", "max"])
_small = st.none() | st.integers(0, 2)
_json = st.none() | st.dictionaries(st.sampled_from("ab"), st.integers(0, 2) | st.none())

_FACTS: Final[dict[str, dict[str, st.SearchStrategy[Any]]]] = {
    "requested": {
        "labels": st.none() | st.dictionaries(st.just("team"), st.sampled_from("ab")),
        "expectations": st.none() | st.builds(Expectations, heartbeat_seconds=st.just(5.0)),
        "requested_by": _name,
    },
    "started": {"resources": _some, "details": _json},
    "progressed": {
        "percent": st.none() | st.sampled_from([0.0, 50.0]),
        "message": _text,
        "step": _small,
        "steps": _small,
        "resources": _some,
        "log_link": _name,
    },
    "cancellation_requested": {"reason": _text, "requested_by": _name},
    "succeeded": {"resources": _some, "outputs": _json},
    "failed": {
        "resources": _some,
        "failure": st.builds(Failure, code=st.sampled_from(["a", "b"]), message=st.just("")),
    },
    "cancelled": {"resources": _some, "reason": _text, "requested_by": _name},
}
OPEN: Final = ("requested", "started", "progressed", "progressed", "cancellation_requested")


@st.composite
def report(draw: st.DrawFn, run: Run, kind: str, id: str) -> Record:
    """One report of this kind, some time in five minutes."""
    facts = {name: draw(values) for name, values in _FACTS[kind].items()}
    if kind == "requested":
        # Two ways to say the same parameters: they have one fingerprint.
        parameters = run.parameters or {"size": 1}
        digest = parameters_digest(parameters)
        facts |= draw(st.sampled_from([{"parameters": parameters}, {"parameters_digest": digest}]))
    at = draw(st.integers(0, 4))
    record: Record = getattr(run, kind)(
        at,
        id=id,
        source=draw(st.sampled_from([ECS, K8S])),
        sequence=draw(_small),
        reported=at + draw(st.integers(0, 6)),
        recorded=at + draw(st.integers(0, 6)),
        **facts,
    )
    return record


@st.composite
def histories(
    draw: st.DrawFn,
    *,
    run: Run = Run(),  # noqa: B008 - frozen
    maximum: int = 6,
    ends: int = 1,
    states: int = 1,
) -> list[Record]:
    """Different reports of one execution, at most `ends` of its end, in at most `states` states.

    Ids are unique within their source only: of two sources both may say "0".
    """
    kinds = draw(st.lists(st.sampled_from(OPEN), min_size=0, max_size=maximum - ends))
    allowed = draw(st.permutations(ENDS))[:states]
    kinds += draw(st.lists(st.sampled_from(allowed), max_size=ends))
    kinds = draw(st.permutations(kinds)) if kinds else [draw(st.sampled_from(ENDS))]
    records: list[Record] = []
    numbers: dict[bytes | None, int] = {}
    for kind in kinds:
        record = draw(report(run, kind, "0"))
        source = dict(record.headers)["ce_source"]
        number = numbers[source] = numbers.get(source, -1) + 1
        headers = [
            (name, b"%d" % number if name == "ce_id" else value) for name, value in record.headers
        ]
        records.append(record._replace(headers=headers))
    return placed(records)


@st.composite
def republished(draw: st.DrawFn, history: Sequence[Record]) -> list[Record]:
    """The same reports, some of them several times, in any order and at other places and times."""
    copies = draw(st.lists(st.sampled_from(history), max_size=len(history)))
    shuffled = draw(st.permutations([*history, *copies]))
    later = [
        record._replace(timestamp=record.timestamp + draw(st.integers(0, 3)) * 60_000)
        for record in shuffled
    ]
    return placed(later, offset=100, partition=1)


@st.composite
def logs(draw: st.DrawFn, maximum: int = 12) -> list[Record]:
    """A partition with the events of several executions, whatever they say, and what is no event."""
    runs = [Run(), Run(key="k-2"), Run(tenant="globex"), Run(parameters={"size": 2})]
    records: list[Record] = []
    for run in runs:
        records += draw(histories(run=run, maximum=5, ends=2, states=3))
    noise = draw(st.lists(st.binary(max_size=4), max_size=2))
    records += [Record(TOPICS.events, 0, 0, 10**12, None, value, []) for value in noise]
    records += draw(st.lists(st.sampled_from(records), max_size=3))
    return placed(draw(st.permutations(records))[:maximum], offset=draw(st.integers(0, 2**40)))


def folded(history: Sequence[Record]) -> Execution:
    """What one execution's events make of it, one after the other."""
    execution: Execution | None = None
    for record in history:
        execution = evolve(execution, event(record)).execution
    assert execution is not None
    return execution
