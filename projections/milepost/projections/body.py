"""An execution as stored in `executions.body`: JSON, the same bytes for the same fold."""

from typing import Any, Final

import orjson

from milepost.projections.execution import Conflict, Execution, Facts, Transition
from milepost.schemas.binding import Key

_PLAIN: Final = ("tenant", "execution_id", "state", "version", "ordinal", "first_recorded",
                 "recorded", "command_event_id")  # fmt: skip


def dump(execution: Execution) -> bytes:
    """The body of an execution; times are integers, microseconds since 1970."""
    return orjson.dumps(fields(execution), default=tuple)


def fields(execution: Execution) -> dict[str, Any]:
    """What `dump` writes, before it is JSON; resources in the order of their keys."""
    held = execution.__dict__
    body = {name: held[name] for name in _PLAIN}
    body["cancellation"] = execution.cancellation
    body["facts"] = execution.facts
    body["transitions"] = execution.transitions
    body["resources"] = [(*name, execution.resources[name]) for name in sorted(execution.resources)]
    body["conflicts"] = execution.conflicts
    return body


def load(raw: str | bytes) -> Execution:
    """The execution whose body this is."""
    body = orjson.loads(raw)
    execution = Execution(body["tenant"], body["execution_id"], body["first_recorded"])
    for name in _PLAIN:
        setattr(execution, name, body[name])
    if (cancellation := body["cancellation"]) is not None:
        execution.cancellation = (_key(cancellation[0]), cancellation[1])
    execution.facts = _facts(body["facts"])
    execution.transitions = {
        state: Transition(told[0], _key(told[1]), *told[2:])
        for state, told in body["transitions"].items()
    }
    execution.resources = {
        (kind, id_, provider, region): _facts(facts)
        for kind, id_, provider, region, facts in body["resources"]
    }
    execution.conflicts = tuple(
        Conflict(type_, reason, _key(key)) for type_, reason, key in body["conflicts"]
    )
    return execution


def _facts(stored: dict[str, Any]) -> Facts:
    return {name: (_key(key), value) for name, (key, value) in stored.items()}


def _key(stored: list[Any]) -> Key:
    occurred, sequence, source, event_id = stored
    return (occurred, sequence, source, event_id)
