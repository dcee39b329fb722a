"""What people and consumers see of an execution: `milepost.schemas.notifications.Execution`.

Made from the stored body alone, so that the API, the completion topics and the webhooks say the same.
"""

from datetime import datetime
from typing import Any, Final

import orjson

from milepost.schemas.binding import moment
from milepost.schemas.failures import standard
from milepost.schemas.values import RELEASED, TERMINAL, State

_PROGRESS: Final = ("percent", "message", "step", "steps")
# Plain strings: an enumeration's members hash in Python, ten times slower.
_STATES: Final = tuple(state.value for state in State)
_PENDING, _RUNNING, _, _, _CANCELLED = _STATES
# Microseconds between two of an event's three times from which on a clock must be wrong.
SKEW: Final = 300_000_000


def to_json(value: Any) -> bytes:
    """JSON with every datetime as RFC 3339 text ending in Z."""
    return orjson.dumps(value, option=orjson.OPT_UTC_Z)


def render(body: dict[str, Any]) -> dict[str, Any]:
    """The view of a stored body (see `body.fields`); times are aware datetimes, absent facts None or empty."""
    facts: dict[str, Any] = {name: fact[1] for name, fact in body["facts"].items()}
    request = facts.get("request") or {}
    provider = request.get("provider")
    state = body["state"]
    transitions = _transitions(body)
    occurred = {told["state"]: told["occurred_at"] for told in transitions}
    requested_at, started_at = occurred[_PENDING], occurred.get(_RUNNING)
    ended_at = occurred[state] if state in TERMINAL else None
    outcome = facts.get("outcome") or {}
    progress = {name: facts[name] for name in _PROGRESS if name in facts}
    return {
        "execution_id": body["execution_id"],
        "tenant": body["tenant"],
        "state": state,
        "version": body["version"],
        "requested": bool(request),
        "operation": request.get("operation"),
        "provider": provider,
        "idempotency_key": request.get("idempotency_key"),
        "parameters": facts.get("parameters"),
        "parameters_digest": request.get("parameters_digest"),
        "labels": facts.get("labels") or {},
        "links": request.get("links") or {},
        "expectations": facts.get("expectations") or {},
        "requested_by": facts.get("requested_by"),
        "command_event_id": body["command_event_id"],
        "progress": progress or None,
        "log_link": facts.get("log_link"),
        "details": facts.get("details"),
        "resources": [_resource(stored, provider) for stored in body["resources"]],
        "resources_omitted": 0,
        "omitted": [],
        "outputs": outcome.get("outputs"),
        "failure": _failure(outcome.get("failure")),
        "cancellation_requested": _cancellation(body["cancellation"]),
        "cancellation": _cancellation(body["facts"]["outcome"] if state == _CANCELLED else None),
        "conflicts": [_conflict(stored) for stored in body["conflicts"]],
        "transitions": transitions,
        "requested_at": requested_at,
        "started_at": started_at,
        "ended_at": ended_at,
        "duration_seconds": _duration(requested_at, started_at, ended_at),
        "first_recorded_at": moment(body["first_recorded"]),
        "recorded_at": moment(body["recorded"]),
    }


def _duration(
    requested: datetime | None, started: datetime | None, ended: datetime | None
) -> float | None:
    known = [moment for moment in (requested, started) if moment is not None]
    if ended is None or not known:
        return None
    # Clocks of different publishers: never less than nothing.
    return max(0.0, (ended - min(known)).total_seconds())


def _transitions(body: dict[str, Any]) -> list[dict[str, Any]]:
    """In the order of the states; pending is there even before its `requested` has come."""
    told = body["transitions"]
    views = [_transition(state, told[state]) for state in _STATES if state in told]
    if _PENDING not in told:
        unknown = dict.fromkeys(
            ("occurred_at", "reported_at", "event_id", "source", "partition", "offset")
        )
        recorded = moment(body["first_recorded"])
        views.insert(0, {"state": _PENDING, "recorded_at": recorded, "inferred": True, **unknown})
        views[0]["skewed"] = False
    return views


def _transition(state: str, stored: Any) -> dict[str, Any]:
    inferred, key, reported, recorded, partition, offset = stored
    occurred = key[0]
    # Whichever two are furthest apart; written out, because every notification comes here.
    skewed = (
        abs(occurred - reported) > SKEW
        or abs(reported - recorded) > SKEW
        or abs(occurred - recorded) > SKEW
    )
    return {
        "state": state,
        "occurred_at": None if inferred else moment(occurred),
        "reported_at": moment(reported),
        "recorded_at": moment(recorded),
        "inferred": inferred,
        "skewed": skewed,
        "event_id": key[3],
        "source": key[2],
        "partition": partition,
        "offset": offset,
    }


def _resource(stored: Any, provider: str | None) -> dict[str, Any]:
    kind, id_, own_provider, region, facts = stored
    status = facts["status"][1] if "status" in facts else None
    return {
        "kind": kind,
        "id": id_,
        "provider": own_provider or provider,
        "region": region or None,
        "status": status,
        "released": status == RELEASED,
        "attributes": facts["attributes"][1] if "attributes" in facts else None,
        "occurred_at": moment(facts["seen"][0][0]),
    }


def _failure(stored: dict[str, Any] | None) -> dict[str, Any] | None:
    """As it was reported, with what the catalogue says to do next."""
    known = standard(stored["code"]) if stored else None
    return {**stored, "next_step": known.next_step} if stored and known else stored


def _cancellation(stored: Any) -> dict[str, Any] | None:
    if stored is None:
        return None
    key, value = stored
    return {**value, "occurred_at": moment(key[0])}


def _conflict(stored: Any) -> dict[str, Any]:
    type_, reason, key = stored
    return {
        "type": type_,
        "reason": reason,
        "event_id": key[3],
        "source": key[2],
        "occurred_at": moment(key[0]),
    }
