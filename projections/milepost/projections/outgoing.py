"""What the fold sends out, as bytes: made once, stored with the record that caused it, then relayed."""

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import orjson

from milepost.projections.body import fields
from milepost.projections.execution import Emit, Execution
from milepost.projections.view import render, to_json
from milepost.schemas.binding import Event, Headers, Record, Rejection, moment
from milepost.schemas.identifiers import outgoing_id
from milepost.schemas.notifications import COMMAND_TYPE, COMPLETION_TYPE, QUARANTINE_TYPE, SOURCE
from milepost.schemas.topics import MAX_EVENT_BYTES, Topics

# What an event may bring megabytes of, the least missed first.
_LARGE: Final = ("parameters", "details", "outputs")
# Where in the headers of a completion or a command the time is that its event was recorded.
TIME: Final = 4
_REQUEST_FACTS: Final = ("operation", "provider", "idempotency_key", "parameters_digest")


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
    """The raw record, its own headers first, then why and whence.

    One that came compressed and is too large to go on uncompressed leaves its bytes to `event_log`.
    """
    origin = f"{record.topic}/{record.partition}/{record.offset}"
    reasons = {
        "milepost-type": QUARANTINE_TYPE,
        "milepost-reason": rejection.reason,
        "milepost-field": rejection.field,
        "milepost-message": rejection.message,
        "milepost-origin": origin,
        "milepost-recorded-at": str(moment(record.timestamp * 1_000)),
    }
    key, value, own = record.key, record.value, record.headers
    if (size := _size(record)) > MAX_EVENT_BYTES:
        key, value, own = None, None, ()
        reasons["milepost-omitted-bytes"] = str(size)
    # "replace": a reason may quote what could not be decoded.
    headers = [*own, *((name, text.encode("utf-8", "replace")) for name, text in reasons.items())]
    return Outgoing(topics.quarantine, key, headers, value)


def _size(record: Record) -> int:
    headers = sum(len(name) + len(value or b"") for name, value in record.headers)
    return len(record.key or b"") + len(record.value or b"") + headers


def _completion(execution: Execution, event: Event, topics: Topics) -> Outgoing:
    view = render(fields(execution))
    id_ = outgoing_id(execution.tenant, execution.execution_id, execution.state, execution.version)
    headers = _headers(id_, COMPLETION_TYPE.format(state=execution.state), event)
    topic = topics.completions(execution.state)
    view["id"] = id_
    return Outgoing(topic, event.execution_id.encode(), headers, _fitting(view))


def _fitting(document: dict[str, Any]) -> bytes:
    """As JSON, without its largest parts where it would not fit in a record; the API has them all."""
    value = to_json(document)
    excess = len(value) - MAX_EVENT_BYTES
    if excess <= 0:
        return value
    shortened = {**document, "omitted": []}
    resources = shortened["resources"] = list(document.get("resources", ()))
    while resources and excess > 0:
        excess -= len(to_json(resources.pop())) + 1
        shortened["resources_omitted"] += 1
    for part in _LARGE:
        if excess > 0 and shortened.get(part):
            excess -= len(to_json(shortened[part]))
            shortened[part] = None
            shortened["omitted"].append(part)
    if excess > 0 and (failure := shortened.get("failure")):
        shortened["failure"] = {**failure, "details": None, "last_lines": None}
        shortened["omitted"] += ("failure.details", "failure.last_lines")
    return to_json(shortened)


def _command(what: Emit, execution: Execution, event: Event, topics: Topics) -> Outgoing:
    request = execution.fact("request") or {}
    id_ = outgoing_id(execution.tenant, execution.execution_id, what, execution.version)
    command = {
        "id": id_,
        "command": what,
        "event_id": event.id,
        "execution_id": execution.execution_id,
        "tenant": execution.tenant,
        **{name: request.get(name) for name in _REQUEST_FACTS},
        "links": request.get("links") or {},
        "parameters": execution.fact("parameters"),
        "labels": execution.fact("labels") or {},
        "expectations": execution.fact("expectations") or {},
    }
    if what is Emit.CANCEL and execution.cancellation is not None:
        command |= execution.cancellation[1]
    headers = _headers(id_, COMMAND_TYPE.format(command=what.value), event)
    return Outgoing(topics.commands, event.execution_id.encode(), headers, _fitting(command))


def _headers(id_: str, type_: str, event: Event) -> list[tuple[str, bytes | None]]:
    headers: list[tuple[str, bytes | None]] = [
        ("ce_specversion", b"1.0"),
        ("ce_id", id_.encode()),
        ("ce_source", SOURCE.encode()),
        ("ce_type", type_.encode()),
        ("ce_time", to_json(moment(event.recorded))[1:-1]),
        ("ce_subject", event.execution_id.encode()),
        ("ce_tenantid", event.tenant.encode()),
        ("content-type", b"application/json"),
    ]
    if event.traceparent:
        headers.append(("ce_traceparent", event.traceparent.encode()))
    return headers
