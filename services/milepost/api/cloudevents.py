"""The CloudEvents 1.0 HTTP binding: one event in either mode, or a batch, to records for the topic.

What an event must be is the contract's to say (`milepost.schemas.binding`); here, only where in the
request something is wrong.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import unquote_to_bytes

import pydantic_core
from fastapi import Request
from pydantic import ValidationError

from milepost.api.problems import (
    INVALID_REQUEST,
    MALFORMED_BODY,
    UNSUPPORTED_MEDIA_TYPE,
    Problem,
    pointer,
)
from milepost.schemas.binding import BINARY, STRUCTURED, Encoded, Event, Rejection, check
from milepost.schemas.events import EVENTS

BINARY_TYPE: Final = BINARY.decode()
STRUCTURED_TYPE: Final = STRUCTURED.decode()
BATCH_TYPE: Final = "application/cloudevents-batch+json"
MAX_BATCH: Final = 500
_PREFIX: Final = b"ce-"
# Everything else that a rejection names is in the data.
_ATTRIBUTES: Final = frozenset(
    {"specversion", "id", "source", "type", "time", "subject", "tenantid", "sequence"}
)
_Faults = list[dict[str, str]]


class Received(NamedTuple):
    """An event, and the record that it goes out in."""

    event: Event
    record: Encoded


async def read(request: Request) -> list[Received]:
    """The events that a request brings. Raises Problem unless every one of them is valid."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    body = await request.body()
    if media_type == BINARY_TYPE:
        return _all([_binary(request.headers.raw, _json(body), body)])
    if media_type == STRUCTURED_TYPE:
        return _all([_structured(_json(body), body)])
    if media_type == BATCH_TYPE:
        return _all(_batch(_json(body)))
    raise Problem(
        UNSUPPORTED_MEDIA_TYPE,
        f"Send an event as {STRUCTURED_TYPE}, several as {BATCH_TYPE}, or its data as {BINARY_TYPE} "
        "and its attributes in ce- headers.",
    )


def _all(outcomes: Sequence[Received | _Faults]) -> list[Received]:
    faults = [fault for outcome in outcomes if isinstance(outcome, list) for fault in outcome]
    if faults:
        first = faults[0]
        where = first.get("pointer") or first.get("parameter", "")
        raise Problem(INVALID_REQUEST, f"{where}: {first['detail']}", errors=faults)
    return [outcome for outcome in outcomes if isinstance(outcome, Received)]


def _json(body: bytes) -> Any:
    try:
        return pydantic_core.from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise Problem(MALFORMED_BODY, str(error)) from None


def _binary(raw: Iterable[tuple[bytes, bytes]], data: Any, body: bytes) -> Received | _Faults:
    headers = [
        (f"ce_{name[len(_PREFIX) :].decode('latin-1')}", _unquoted(value))
        for name, value in raw
        if name.startswith(_PREFIX)
    ]
    attributes = dict(headers)
    subject = attributes.get("ce_subject", b"")
    record = Encoded(subject, body, [*headers, ("content-type", BINARY)])
    event = check(record)
    if isinstance(event, Event):
        return Received(event, record)
    name = event.field.removeprefix("ce_")
    if name in _ATTRIBUTES or event.reason == "repeated_header":
        return [{"detail": event.message, "parameter": f"ce-{name}"}]
    type_ = attributes.get("ce_type", b"").decode("latin-1")
    return _data_faults(event, type_, data, ())


def _unquoted(value: bytes) -> bytes:
    """As HTTP headers carry attributes (HTTP binding 3.1.3.2): perhaps quoted, percent-encoded."""
    if len(value) > 1 and value[:1] == value[-1:] == b'"':
        value = value[1:-1].replace(b'\\"', b'"').replace(b"\\\\", b"\\")
    return unquote_to_bytes(value)


def _batch(items: Any) -> list[Received | _Faults]:
    if not isinstance(items, list) or not 1 <= len(items) <= MAX_BATCH:
        return [
            [{"detail": f"must be an array of 1 to {MAX_BATCH} events", "pointer": pointer(())}]
        ]
    return [
        _structured(item, pydantic_core.to_json(item), (place,)) for place, item in enumerate(items)
    ]


def _structured(
    envelope: Any, value: bytes, path: tuple[str | int, ...] = ()
) -> Received | _Faults:
    known = envelope if isinstance(envelope, dict) else {}
    subject = known.get("subject")
    key = subject.encode() if isinstance(subject, str) else b""
    record = Encoded(key, value, [("content-type", STRUCTURED)])
    event = check(record)
    if isinstance(event, Event):
        return Received(event, record)
    if event.field == "value":
        return [{"detail": event.message, "pointer": pointer(path)}]
    if event.field in _ATTRIBUTES or event.field == "data" or event.field in known:
        return [{"detail": event.message, "pointer": pointer((*path, event.field))}]
    return _data_faults(event, str(known.get("type")), known.get("data"), (*path, "data"))


def _data_faults(
    rejection: Rejection, type_: str, data: Any, path: tuple[str | int, ...]
) -> _Faults:
    """Everything that is wrong with the data of an event, where a rejection names the first."""
    schema = EVENTS.get(type_)
    try:
        if schema is not None:
            schema.model_validate_json(pydantic_core.to_json(data), extra="ignore")
    except ValidationError as error:
        return [
            {"detail": fault["msg"], "pointer": pointer((*path, *fault["loc"]))}
            for fault in error.errors(include_url=False, include_context=False, include_input=False)
        ]
    return [{"detail": rejection.message, "pointer": pointer(path)}]
