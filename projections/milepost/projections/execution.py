"""The fold of one execution: events in, the execution and a disposition out.

Pure: time comes in with the event, nothing is read or written, and what is held is never changed
(but for what a batch has made itself: see `evolve`).
Read it top-down: the state, `evolve`, one function per event type, how facts merge.

Laws (tests/projections/test_laws.py): any order and any duplication of one execution's events with
at most one terminal event give the same state, facts, resources, progress and transitions; nothing
leaves a terminal state; every event gets one disposition. Not lawful, because they say what Milepost
did and when: version, ordinal, dispositions, the command, the cancellation request, conflicts.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import Any, Final, NamedTuple, cast

from milepost.schemas.binding import Event, Key
from milepost.schemas.events import (
    CancellationRequested,
    Cancelled,
    Failed,
    Progressed,
    Requested,
    Started,
    Succeeded,
)
from milepost.schemas.values import TERMINAL, Resource, State

MAX_CONFLICTS: Final = 20
# Raised with every change after which the same log gives other projections: they need a rebuild then.
FOLD_VERSION: Final = 1
# What the laws hold for, and what a rebuild compares.
LAWFUL: Final = ("tenant", "execution_id", "state", "facts", "transitions", "resources", "recorded")

# Plain strings: to hash an enumeration's member, or to ask it for its value, runs Python code.
PENDING, RUNNING, SUCCEEDED, FAILED, CANCELLED = (state.value for state in State)


class Disposition(StrEnum):
    """What the fold did with one raw record."""

    APPLIED = "applied"  # moved the state or merged newer facts
    LATE = "late"  # recorded and merged, the state stays
    DUPLICATE = "duplicate"  # no effect
    STALE = "stale"  # older than what is known, no effect
    CONFLICTING = "conflicting"  # contradicts, flagged on the execution
    QUARANTINED = "quarantined"  # cannot be an event, seen by operators only


class Emit(StrEnum):
    """What an outcome asks to be sent out."""

    START = "start"
    CANCEL = "cancel"
    COMPLETION = "completion"


class Transition(NamedTuple):
    """How a state was entered; the smallest key wins, and anything told beats anything inferred."""

    inferred: bool
    key: Key
    reported: int
    recorded: int
    partition: int
    offset: int


class Conflict(NamedTuple):
    """An event that contradicts what is sealed."""

    type: str
    reason: str
    key: Key


# The key of the event that said so, and the value; the newest key wins. A plain tuple: there are
# several in every event.
Fact = tuple[Key, Any]
# (kind, id, provider or "", region or "")
ResourceKey = tuple[str, str, str, str]
Facts = dict[str, Fact]


class Execution:
    """Everything that is known of one execution. Treated as immutable: `evolve` makes a new one.

    `facts`: request, parameters, labels, expectations, requested_by, details, percent, message, step,
    steps, log_link, progressed (the newest progress event), outcome. `resources`: per resource the
    facts seen, status, attributes. `transitions`: by state; pending only once `requested` has come.
    """

    def __init__(self, tenant: str, execution_id: str, first_recorded: int) -> None:
        self.tenant = tenant
        self.execution_id = execution_id
        self.state: str = PENDING
        self.version = 0
        self.ordinal = 0
        self.first_recorded = first_recorded
        self.recorded = first_recorded
        self.command_event_id: str | None = None
        self.cancellation: Fact | None = None
        self.facts: Facts = {}
        self.transitions: dict[str, Transition] = {}
        self.resources: dict[ResourceKey, Facts] = {}
        self.conflicts: tuple[Conflict, ...] = ()

    def copy(self) -> "Execution":
        """One that may be filled in without changing this one."""
        new = object.__new__(Execution)
        new.__dict__.update(self.__dict__)
        new.facts = self.facts.copy()
        new.transitions = self.transitions.copy()
        new.resources = self.resources.copy()
        return new

    @property
    def terminal(self) -> bool:
        """Whether the state is sealed."""
        return self.state in TERMINAL

    def fact(self, name: str) -> Any:
        """The value of a fact, or None."""
        held = self.facts.get(name)
        return held[1] if held else None


class Outcome(NamedTuple):
    """What one event made of an execution."""

    execution: Execution
    disposition: Disposition
    reason: str | None = None
    emitted: tuple[Emit, ...] = ()


def evolve(held: Execution | None, event: Event, *, own: bool = False) -> Outcome:
    """Fold one event into what is held of its execution (None: nothing yet).

    `own`: nobody else looks at `held` any more, so it is filled in and not copied.
    """
    if held is None:
        new = Execution(event.tenant, event.execution_id, event.recorded)
    else:
        new = held if own else held.copy()
    new.ordinal += 1
    new.recorded = max(new.recorded, event.recorded)
    if _is_known(new, event):
        return Outcome(new, Disposition.DUPLICATE, "known_event")
    return _FOLDS[type(event.data)](held, new, event)


def _requested(held: Execution | None, new: Execution, event: Event) -> Outcome:
    data = cast(Requested, event.data)
    fingerprint = data.fingerprint()
    request = new.fact("request")
    if request is not None and request["fingerprint"] != fingerprint:
        return _conflict(new, event, "key_reused")
    changed = _learn_request(new, event, data, fingerprint) | _enter(new, PENDING, event)
    if new.state != PENDING:
        if not changed:
            return Outcome(new, Disposition.DUPLICATE, "repeated")
        return _changed(new, Disposition.LATE, "repeated" if request else "filled")
    if request is not None:
        if not changed:
            return Outcome(new, Disposition.DUPLICATE, "repeated")
        return _changed(new, Disposition.APPLIED, "merged")
    new.command_event_id = event.id
    commands = (Emit.START, Emit.CANCEL) if new.cancellation else (Emit.START,)
    return _changed(new, Disposition.APPLIED, "filled" if held else None, commands)


def _started(held: Execution | None, new: Execution, event: Event) -> Outcome:
    data = cast(Started, event.data)
    changed = _enter(new, RUNNING, event) | _learn_resources(new, event.key, data.resources)
    changed |= _learn(new.facts, "details", event.key, data.details)
    if new.state == PENDING:
        return _begun(new)
    if not changed:
        return Outcome(new, Disposition.DUPLICATE, "repeated")
    if new.state == RUNNING:
        return _changed(new, Disposition.APPLIED, "merged")
    return _changed(new, Disposition.LATE)


def _progressed(held: Execution | None, new: Execution, event: Event) -> Outcome:
    data = cast(Progressed, event.data)
    changed = _enter(new, RUNNING, event, inferred=True) | _learn_resources(
        new, event.key, data.resources
    )
    if (progress := data.progress) is not None:
        changed |= _learn(new.facts, "percent", event.key, progress.percent)
        changed |= _learn(new.facts, "message", event.key, progress.message)
        changed |= _learn(new.facts, "step", event.key, progress.step)
        changed |= _learn(new.facts, "steps", event.key, progress.steps)
    changed |= _learn(new.facts, "log_link", event.key, data.log_link)
    # Reports without facts (only log lines, or a sign of life) are told from repeats by this key.
    last = new.facts.get("progressed")
    newest = last is None or last[0] < event.key
    if newest:
        new.facts["progressed"] = (event.key, True)
    if new.state == PENDING:
        return _begun(new, "inferred")
    if not changed and not newest:
        return Outcome(new, Disposition.STALE, "older_progress")
    disposition = Disposition.APPLIED if new.state == RUNNING else Disposition.LATE
    return _changed(new, disposition) if changed else Outcome(new, disposition)


def _begun(new: Execution, reason: str | None = None) -> Outcome:
    new.state = RUNNING
    # A cancellation that came before everything else has waited for something to call off.
    waited = new.cancellation is not None and new.fact("request") is None
    return _changed(new, Disposition.APPLIED, reason, (Emit.CANCEL,) if waited else ())


def _ended(state: str, new: Execution, event: Event, outcome: dict[str, Any]) -> Outcome:
    resources = cast(Succeeded | Failed | Cancelled, event.data).resources
    if new.terminal and new.state != state:
        # The resources are real whichever report of the end is right.
        _learn_resources(new, event.key, resources)
        return _conflict(new, event, f"already_{new.state}")
    first = not new.terminal
    changed = _enter(new, state, event) | _learn_resources(new, event.key, resources)
    changed |= _learn(new.facts, "outcome", event.key, outcome)
    if first:
        new.state = state
        return _changed(new, Disposition.APPLIED, None, (Emit.COMPLETION,))
    if not changed:
        return Outcome(new, Disposition.DUPLICATE, "repeated")
    return _changed(new, Disposition.LATE, "repeated")


def _succeeded(held: Execution | None, new: Execution, event: Event) -> Outcome:
    data = cast(Succeeded, event.data)
    return _ended(SUCCEEDED, new, event, {"outputs": data.outputs})


def _failed(held: Execution | None, new: Execution, event: Event) -> Outcome:
    failure = cast(Failed, event.data).failure.model_dump(mode="json", exclude_none=True)
    return _ended(FAILED, new, event, {"failure": failure})


def _cancelled(held: Execution | None, new: Execution, event: Event) -> Outcome:
    data = cast(Cancelled, event.data)
    outcome = {"reason": data.reason, "requested_by": data.requested_by}
    return _ended(CANCELLED, new, event, outcome)


def _cancellation_requested(held: Execution | None, new: Execution, event: Event) -> Outcome:
    data = cast(CancellationRequested, event.data)
    if new.terminal:
        return Outcome(new, Disposition.STALE, "already_terminal")
    if new.cancellation is not None:
        return Outcome(new, Disposition.DUPLICATE, "already_requested")
    new.cancellation = (event.key, {"reason": data.reason, "requested_by": data.requested_by})
    # Without anything to call off the command waits until there is.
    return _changed(new, Disposition.APPLIED, None, (Emit.CANCEL,) if held else ())


_Fold = Callable[[Execution | None, Execution, Event], Outcome]
_FOLDS: Final[dict[type, _Fold]] = {
    Requested: _requested,
    Started: _started,
    Progressed: _progressed,
    Succeeded: _succeeded,
    Failed: _failed,
    Cancelled: _cancelled,
    CancellationRequested: _cancellation_requested,
}


def _changed(
    new: Execution,
    disposition: Disposition,
    reason: str | None = None,
    emitted: tuple[Emit, ...] = (),
) -> Outcome:
    new.version += 1
    return Outcome(new, disposition, reason, emitted)


def _conflict(new: Execution, event: Event, reason: str) -> Outcome:
    if len(new.conflicts) < MAX_CONFLICTS:
        new.conflicts = (*new.conflicts, Conflict(event.type, reason, event.key))
    return _changed(new, Disposition.CONFLICTING, reason)


def _is_known(held: Execution, event: Event) -> bool:
    """Whether this very event made one of the transitions, or has been flagged already."""
    identity = event.key[2:]  # source and id
    for transition in held.transitions.values():
        if transition.key[2:] == identity:
            return True
    if not held.conflicts:
        return False
    return any(conflict.key[2:] == identity for conflict in held.conflicts)


def _enter(new: Execution, state: str, event: Event, *, inferred: bool = False) -> bool:
    """Keep the transition with the smallest key; a told one replaces an inferred one."""
    held = new.transitions.get(state)
    if held is not None and (held.inferred, held.key) <= (inferred, event.key):
        return False
    new.transitions[state] = Transition(
        inferred, event.key, event.reported, event.recorded, event.partition, event.offset
    )
    return True


def _learn(facts: Facts, name: str, key: Key, value: Any) -> bool:
    """Merge one fact by its key; says whether its value changed. What an event omits it does not deny."""
    if value is None:
        return False
    held = facts.get(name)
    if held is None:
        facts[name] = (key, value)
        return True
    if held[0] >= key:
        return False
    facts[name] = (key, value)
    return bool(held[1] != value)


def _learn_request(new: Execution, event: Event, data: Requested, fingerprint: str) -> bool:
    request = {
        "operation": data.operation,
        "provider": data.provider,
        "idempotency_key": data.idempotency_key,
        "parameters_digest": data.parameters_digest,
        "links": data.set_links(),
        "fingerprint": fingerprint,
    }
    expectations = data.expectations and data.expectations.model_dump(exclude_none=True)
    changed = _learn(new.facts, "request", event.key, request)
    changed |= _learn(new.facts, "parameters", event.key, data.parameters)
    changed |= _learn(new.facts, "labels", event.key, data.labels)
    changed |= _learn(new.facts, "expectations", event.key, expectations)
    changed |= _learn(new.facts, "requested_by", event.key, data.requested_by)
    return changed


def _learn_resources(new: Execution, key: Key, resources: tuple[Resource, ...] | None) -> bool:
    """Merge each resource by itself: its existence, status and attributes by the newest key."""
    changed = False
    for resource in resources or ():
        name = (resource.kind, resource.id, resource.provider or "", resource.region or "")
        facts = new.resources.get(name, {}).copy()
        changed |= _learn(facts, "seen", key, True)
        changed |= _learn(facts, "status", key, resource.status)
        changed |= _learn(facts, "attributes", key, resource.attributes)
        new.resources[name] = facts
    return changed
