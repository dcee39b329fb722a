"""The CloudEvents 1.0 Kafka binding: events to records, records to events.

`decode` is on the hot path (a few microseconds a record) and never raises for what a record holds:
what it cannot accept comes back as a `Rejection` that names the field.
"""

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final, NamedTuple, Protocol
from uuid import uuid4

import pydantic_core
from pydantic import ValidationError

from milepost.schemas.events import EVENTS, EventData, Requested
from milepost.schemas.topics import MAX_EVENT_BYTES
from milepost.schemas.values import EARLIEST, LATEST, TENANT_PATTERN, UUID_PATTERN

Headers = Sequence[tuple[str, bytes | None]]
# (occurred, sequence, source, id): the order in which facts are true, whatever order they arrive in.
Key = tuple[int, int, str, str]

BINARY: Final = b"application/json"
STRUCTURED: Final = b"application/cloudevents+json"
SEQUENCE_PATTERN: Final = r"^[0-9]{1,19}$"
TRACEPARENT_PATTERN: Final = r"^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$"
MAX_ATTRIBUTE: Final = 512
REQUIRED: Final = ("ce_id", "ce_source", "ce_type", "ce_time", "ce_subject", "ce_tenantid")
_MICROSECOND: Final = timedelta(microseconds=1)
_END: Final = (LATEST - EARLIEST) // _MICROSECOND
# Straight to pydantic's validator: `model_validate_json` looks at five options first.
_BY_TYPE: Final = {
    name.encode(): (name, data.__pydantic_validator__.validate_json)
    for name, data in EVENTS.items()
}
_is_uuid: Final = re.compile(UUID_PATTERN).fullmatch
_is_tenant: Final = re.compile(TENANT_PATTERN).fullmatch
_CONTROL: Final = r"\x00-\x1f\x7f-\x9f\ud800-\udfff"
_is_attribute: Final = re.compile(f"[^{_CONTROL}]{{1,{MAX_ATTRIBUTE}}}").fullmatch
_hide_control: Final = re.compile(f"[{_CONTROL}]").sub
_is_sequence: Final = re.compile(SEQUENCE_PATTERN).fullmatch
_is_time: Final = re.compile(
    rb"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})"
).fullmatch
_is_traceparent: Final = re.compile(TRACEPARENT_PATTERN).fullmatch


class Record(Protocol):
    """A Kafka record as aiokafka hands it over; `timestamp` in milliseconds since 1970."""

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Headers: ...


class Event(NamedTuple):
    """A fact that a publisher reported. Times are microseconds since 1970, UTC.

    `key` says where it stands among the facts of its execution. `occurred`, its first part, is when it
    happened, `reported` when the publisher said so, `recorded` when the broker appended it (millisecond
    resolution). `partition` and `offset` say where the raw record is.
    """

    type: str
    tenant: str
    execution_id: str
    key: Key
    reported: int
    recorded: int
    traceparent: str | None
    partition: int
    offset: int
    data: EventData

    @property
    def occurred(self) -> int:
        """When it happened."""
        return self.key[0]

    @property
    def sequence(self) -> int:
        """The publisher's own order among events of the same moment; 0 if it gave none."""
        return self.key[1]

    @property
    def source(self) -> str:
        """Who reported it."""
        return self.key[2]

    @property
    def id(self) -> str:
        """Unique within `source`."""
        return self.key[3]


class Rejection(NamedTuple):
    """Why a record cannot be an event: a stable `reason`, the `field`, and a sentence for people."""

    reason: str
    field: str
    message: str


class _Invalid(Exception):
    def __init__(self, reason: str, field: str, message: str) -> None:
        super().__init__(message)
        # Both may repeat what the record says, at any length, and are stored and sent on as headers.
        self.rejection = Rejection(reason, _shown(field), _shown(message))


def _shown(text: str) -> str:
    return _hide_control("\N{REPLACEMENT CHARACTER}", text[:512])


def microseconds(moment: datetime) -> int:
    """Microseconds since 1970 of an aware datetime, exactly."""
    return (moment - EARLIEST) // _MICROSECOND


def moment(value: int) -> datetime:
    """The aware datetime (UTC) of microseconds since 1970."""
    # Exact up to the year 2242, and much quicker than adding a timedelta to the epoch.
    return datetime.fromtimestamp(value / 1e6, UTC)


def decode(record: Record) -> Event | Rejection:
    """The event that `record` holds, or why there is none."""
    try:
        return _decode(record)
    except _Invalid as invalid:
        return invalid.rejection


def _decode(record: Record) -> Event:
    value = record.value
    if value is None:
        raise _Invalid("empty", "value", "the record has no value")
    # The broker's limit is for what is compressed; what goes out must fit as it is.
    if len(value) > MAX_EVENT_BYTES:
        message = f"the value is larger than {MAX_EVENT_BYTES:,} bytes"
        raise _Invalid("too_large", "value", message)
    headers = dict(record.headers)
    if len(headers) != len(record.headers):
        _refuse_repeated(record.headers)
    content_type = headers.get("content-type") or BINARY
    if content_type != BINARY:
        media_type = content_type.partition(b";")[0].strip().lower()
        if media_type == STRUCTURED:
            headers, value = _structured(value)
        elif media_type != BINARY:
            expected = "expected application/json or application/cloudevents+json"
            raise _Invalid("content_type", "content-type", expected)
    return _event(record, headers, value)


def _event(record: Record, attributes: dict[str, bytes | None], value: bytes) -> Event:
    if attributes.get("ce_specversion") != b"1.0":
        raise _Invalid("missing", "specversion", "the CloudEvents specversion must be 1.0")
    event_id, source, event_type, time, subject, tenant_id = map(attributes.get, REQUIRED)
    if not (event_id and source and event_type and time and subject and tenant_id):
        raise _missing(attributes)
    known = _BY_TYPE.get(event_type)
    if known is None:
        message = f"{event_type[:128]!r} is no event type of this version"
        raise _Invalid("unknown_type", "type", message)
    type_, validate = known
    tenant = _tenant(tenant_id)
    execution = _execution_id(subject)
    if record.key != subject:
        message = "the record key is not the subject (the execution id)"
        raise _Invalid("key_mismatch", "key", message)
    try:
        data = validate(value, extra="ignore")
    except ValidationError as error:
        raise _first(error) from None
    # Not isinstance: pydantic's metaclass answers that in Python, for every event.
    if type(data) is Requested and data.execution_id(tenant) != execution:
        message = "does not recompute from the tenant, the operation and the key or parameters"
        raise _Invalid("id_mismatch", "subject", message)
    sequence, traceparent = attributes.get("ce_sequence"), attributes.get("ce_traceparent")
    occurred = (data.occurred_at - EARLIEST) // _MICROSECOND
    order = 0 if sequence is None else _sequence(sequence)
    return Event(
        type_,
        tenant,
        execution,
        (occurred, order, _source(source), _text(event_id, "id")),
        _time(time),
        record.timestamp * 1_000,
        None if traceparent is None else _traceparent(traceparent),
        record.partition,
        record.offset,
        data,
    )


def _missing(attributes: dict[str, bytes | None]) -> _Invalid:
    name = next(name for name in REQUIRED if not attributes.get(name))[3:]
    return _Invalid("missing", name, f"the CloudEvents attribute {name!r} is missing")


def _structured(value: bytes) -> tuple[dict[str, bytes | None], bytes]:
    try:
        envelope = pydantic_core.from_json(value, allow_inf_nan=False)
    except ValueError as error:
        raise _Invalid("undecodable", "value", f"the value is not JSON: {error}") from None
    if not isinstance(envelope, dict):
        raise _Invalid("undecodable", "value", "the value is not a JSON object")
    if not isinstance(envelope.get("data"), dict):
        raise _Invalid("missing", "data", "data must be a JSON object")
    data = pydantic_core.to_json(envelope.pop("data"))
    return {f"ce_{name}": _attribute(name, item) for name, item in envelope.items()}, data


def _attribute(name: str, value: Any) -> bytes | None:
    match value:
        case None:  # CloudEvents JSON format 2.2: null means unset
            return None
        case bool():
            return b"true" if value else b"false"
        case str() | int():
            return str(value).encode()
    raise _Invalid("invalid", name, f"the CloudEvents attribute {name!r} must be text")


def _refuse_repeated(headers: Iterable[tuple[str, bytes | None]]) -> None:
    seen = set()
    for name, _ in headers:
        if name in seen and (name == "content-type" or name.startswith("ce_")):
            raise _Invalid("repeated_header", name, f"the header {name} occurs more than once")
        seen.add(name)


def _first(error: ValidationError) -> _Invalid:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    field = ".".join(str(part) for part in first["loc"]) or "value"
    reason = {"json_invalid": "undecodable", "missing": "missing"}.get(first["type"], "invalid")
    return _Invalid(reason, field, first["msg"])


def _text(raw: bytes, name: str) -> str:
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        message = f"the CloudEvents attribute {name!r} is not UTF-8"
        raise _Invalid("undecodable", name, message) from None
    if not _is_attribute(text):
        message = (
            f"{name!r} must be 1 to {MAX_ATTRIBUTE} characters, none of them a control character"
        )
        raise _Invalid("invalid", name, message)
    return text


# Few values, repeated in every record: looking them up is cheaper than checking them again.
@lru_cache(maxsize=16_384)
def _source(raw: bytes) -> str:
    return _text(raw, "source")


@lru_cache(maxsize=16_384)
def _tenant(raw: bytes) -> str:
    tenant = _text(raw, "tenantid")
    if not _is_tenant(tenant):
        raise _Invalid("invalid", "tenantid", f"the tenant must match {TENANT_PATTERN}")
    return tenant


@lru_cache(maxsize=1_024)
def _execution_id(raw: bytes) -> str:
    execution = _text(raw, "subject")
    if not _is_uuid(execution):
        message = "the subject must be an execution id (a lower-case UUID)"
        raise _Invalid("invalid", "subject", message)
    return execution


def _sequence(raw: bytes) -> int:
    text = _text(raw, "sequence")
    if not _is_sequence(text) or (number := int(text)) >= 2**63:
        message = "the sequence must be an integer from 0 to 2**63 - 1"
        raise _Invalid("invalid", "sequence", message)
    return number


def _traceparent(raw: bytes) -> str | None:
    # A broken trace context must not cost the event (W3C Trace Context: ignore it).
    text = raw.decode("ascii", "replace")
    return text if _is_traceparent(text) else None


def _time(raw: bytes) -> int:
    try:
        # fromisoformat reads much that is not RFC 3339: weeks, days without dashes, 00:000.
        if not _is_time(raw):
            raise ValueError(raw)
        reported = (datetime.fromisoformat(raw.decode().upper()) - EARLIEST) // _MICROSECOND
    except (ValueError, OverflowError):
        raise _Invalid("invalid", "time", "the time must be RFC 3339 with an offset") from None
    if not 0 <= reported < _END:
        raise _Invalid("invalid", "time", "the time must be between 1970 and 2200")
    return reported


class Encoded(NamedTuple):
    """A record ready to send."""

    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]


def encode(
    data: EventData,
    *,
    tenant: str,
    execution_id: str,
    source: str,
    reported: datetime,
    event_id: str | None = None,
    sequence: int | None = None,
    traceparent: str | None = None,
) -> Encoded:
    """The record (binary mode) of one event. Without `event_id` it gets a random one.

    Raises ValueError, naming the attribute, for what `decode` would reject.
    """
    subject = _utf8(execution_id)
    if reported.tzinfo is None:
        raise ValueError("time: must have an offset")
    attributes = {
        "id": str(uuid4()) if event_id is None else event_id,
        "source": source,
        "type": data.type,
        "time": reported.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        "subject": execution_id,
        "tenantid": tenant,
    }
    if sequence is not None:
        attributes["sequence"] = str(sequence)
    if traceparent is not None:
        attributes["traceparent"] = traceparent
    value = data.model_dump_json(exclude_none=True).encode()
    headers = [(f"ce_{name}", _utf8(text)) for name, text in attributes.items()]
    headers += [("ce_specversion", b"1.0"), ("content-type", BINARY)]
    record = Encoded(subject, value, headers)
    outcome = check(record)
    if isinstance(outcome, Rejection):
        raise ValueError(f"{outcome.field}: {outcome.message}")
    return record


def check(record: Encoded) -> Event | Rejection:
    """The event that a record holds which has no place in the log yet, or why it holds none."""
    return decode(_Draft(record.key, record.value, record.headers))


def _utf8(text: str) -> bytes:
    return text.encode(errors="surrogatepass")  # `decode` names the attribute that is not UTF-8


class _Draft(NamedTuple):
    """A record before it has a place in the log."""

    key: bytes | None
    value: bytes | None
    headers: Headers
    topic: str = ""
    partition: int = 0
    offset: int = 0
    timestamp: int = 0
