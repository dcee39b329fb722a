"""What the fold sends out, as bytes: made once, stored with the record that caused it, then relayed."""

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import orjson

from milepost.projections.body import fields
from milepost.projections.execution import Emit, Execution
from milepost.projections.view import render, rfc3339
from milepost.schemas.binding import Event, Headers, Record, Rejection
from milepost.schemas.identifiers import outgoing_id
from milepost.schemas.notifications import COMMAND_TYPE, COMPLETION_TYPE, QUARANTINE_TYPE
from milepost.schemas.topics import MAX_EVENT_BYTES, Topics
from milepost.schemas.values import State

SOURCE: Final = "/milepost"
_COMMAND_FACTS: Final = (
    "execution_id", "tenant", "operation", "provider", "idempotency_key", "parameters",
    "parameters_digest", "labels", "links", "expectations",
)  # fmt: skip


class Outgoing(NamedTuple):
    """A record to send; `headers` as aiokafka takes them."""

    topic: str
    key: bytes | None
    headers: list[tuple[str, bytes | None]]
    value: bytes | None


def pack_headers(headers: Headers) -> bytes:
    """Headers as stored: JSON [[name, value as Latin-1 or null], ...]."""
    return orjson.dumps(
        [(name, None if value is None else value.decode("latin-1")) for name, value in headers]
    )


def unpack_headers(stored: bytes) -> list[tuple[str, bytes | None]]:
    """The headers that `pack_headers` stored."""
    return [
        (name, None if value is None else value.encode("latin-1"))
        for name, value in orjson.loads(stored)
    ]


def pack(records: Iterable[Outgoing]) -> list[bytes | None]:
    """Records as stored in `event_log.emitted`: topic, key, headers, value; four after four."""
    packed: list[bytes | None] = []
    for record in records:
        packed += (record.topic.encode(), record.key, pack_headers(record.headers), record.value)
    return packed


def unpack(stored: list[bytes | None]) -> list[Outgoing]:
    """The records that `pack` stored."""
    groups = zip(stored[::4], stored[1::4], stored[2::4], stored[3::4], strict=True)
    return [
        Outgoing((topic or b"").decode(), key, unpack_headers(headers or b"[]"), value)
        for topic, key, headers, value in groups
    ]


def emitted(what: Emit, execution: Execution, event: Event, topics: Topics) -> Outgoing:
    """The record for one thing that an outcome asks to be sent out."""
    if what is Emit.COMPLETION:
        return _completion(execution, event, topics)
    return _command(what, execution, event, topics)


def quarantined(record: Record, rejection: Rejection, topics: Topics) -> Outgoing:
    """The raw record, its own headers first, then why and whence."""
    origin = f"{record.topic}/{record.partition}/{record.offset}"
    reasons = {
        "milepost-type": QUARANTINE_TYPE,
        "milepost-reason": rejection.reason,
        "milepost-field": rejection.field,
        "milepost-message": rejection.message,
        "milepost-origin": origin,
        "milepost-recorded-at": rfc3339(record.timestamp * 1_000) or "",
    }
    # "replace": a reason may quote what could not be decoded.
    headers = [
        *record.headers,
        *((name, text.encode("utf-8", "replace")) for name, text in reasons.items()),
    ]
    return Outgoing(topics.quarantine, record.key, headers, record.value)


def _completion(execution: Execution, event: Event, topics: Topics) -> Outgoing:
    view = render(fields(execution))
    state = State(execution.state)
    id_ = outgoing_id(execution.tenant, execution.execution_id, state, execution.version)
    value = orjson.dumps({"id": id_, **view})
    if len(value) > MAX_EVENT_BYTES:
        value = orjson.dumps({"id": id_, **_shortened(view, len(value) - MAX_EVENT_BYTES)})
    headers = _headers(id_, COMPLETION_TYPE.format(state=state.value), execution, event)
    return Outgoing(topics.completions(state), execution.execution_id.encode(), headers, value)


def _shortened(view: dict[str, Any], excess: int) -> dict[str, Any]:
    """Leave out the last resources until the notification fits; the API has them all."""
    resources = list(view["resources"])
    while resources and excess > 0:
        excess -= len(orjson.dumps(resources.pop())) + 1
    omitted = len(view["resources"]) - len(resources)
    return {**view, "resources": resources, "resources_omitted": omitted}


def _command(what: Emit, execution: Execution, event: Event, topics: Topics) -> Outgoing:
    view = render(fields(execution))
    id_ = outgoing_id(execution.tenant, execution.execution_id, what, execution.version)
    command = {"id": id_, "command": what.value, "event_id": event.id}
    command |= {name: view[name] for name in _COMMAND_FACTS}
    if what is Emit.CANCEL and execution.cancellation is not None:
        command |= execution.cancellation.value
    headers = _headers(id_, COMMAND_TYPE.format(command=what.value), execution, event)
    return Outgoing(
        topics.commands, execution.execution_id.encode(), headers, orjson.dumps(command)
    )


def _headers(
    id_: str, type_: str, execution: Execution, event: Event
) -> list[tuple[str, bytes | None]]:
    attributes = {
        "ce_specversion": "1.0",
        "ce_id": id_,
        "ce_source": SOURCE,
        "ce_type": type_,
        "ce_time": rfc3339(event.recorded) or "",
        "ce_subject": execution.execution_id,
        "ce_tenantid": execution.tenant,
        "content-type": "application/json",
    }
    if event.traceparent:
        attributes["ce_traceparent"] = event.traceparent
    return [(name, text.encode()) for name, text in attributes.items()]
