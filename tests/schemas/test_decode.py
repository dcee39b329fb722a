"""Decoding gives back what was encoded, and never raises, whatever a record holds."""

import json
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from milepost.schemas.binding import Encoded, Event, Rejection, decode, encode, moment
from milepost.schemas.events import EventData, Requested, Started
from milepost.schemas.examples import BEGIN, examples, structured
from milepost.schemas.topics import MAX_EVENT_BYTES
from schemas.records import Record
from schemas.strategies import encodings
from schemas.test_publish import VALIDATORS

VALID = [example.record for example in examples()]
SUBJECT = "5b0d7f0c-6a51-5d0b-9d7e-6d3c1f0a9e42"


@given(encodings())
def test_an_event_comes_back_as_it_was(made: tuple[EventData, dict[str, Any]]) -> None:
    data, given = made
    binary = encode(data, **given)
    for key, value, headers in (binary, structured(binary)):
        record = Record(key, value, headers)
        event = decode(record)
        assert isinstance(event, Event), event
        assert event.data == data
        assert (event.type, event.tenant) == (data.type, given["tenant"])
        assert (event.execution_id, event.id) == (given["execution_id"], given["event_id"])
        assert event.source == given["source"]
        assert moment(event.occurred) == data.occurred_at
        assert moment(event.reported) == given["reported"]
        assert event.recorded == record.timestamp * 1_000
        assert event.sequence == (given["sequence"] or 0)
        assert event.traceparent == given["traceparent"]
        assert (event.partition, event.offset) == (record.partition, record.offset)
        assert event.key == (event.occurred, event.sequence, event.source, event.id)


@st.composite
def _mutated(draw: st.DrawFn) -> Record:
    """A valid record in which a few bytes were changed, removed, doubled, or taken from another."""
    record = draw(st.sampled_from(VALID))
    value = bytearray(record.value)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(value)))
        length = draw(st.integers(0, 12))
        match draw(st.integers(0, 3)):
            case 0:
                value[at : at + length] = draw(st.binary(max_size=8))
            case 1:
                del value[at : at + length]
            case 2:
                value[at:at] = value[at : at + length]
            case _:
                pieces = [b"null", b"-1", b"1e400", b'"\\u0000"', b"[[", b"{}", b'"', b"9" * 20]
                value[at : at + length] = draw(st.sampled_from(pieces))
    headers: list[tuple[str, bytes | None]] = list(record.headers)
    if draw(st.booleans()):
        at = draw(st.integers(0, len(headers) - 1))
        garbled = draw(st.none() | st.binary(max_size=40))
        headers[at] = (headers[at][0], garbled)
    return Record(draw(st.sampled_from([record.key, None, b""])), bytes(value), headers)


def _holds(outcome: Event | Rejection, record: Record) -> None:
    """What every outcome must be: an event that can be stored, or a rejection that can be sent."""
    if isinstance(outcome, Rejection):
        assert outcome.reason
        assert outcome.field
        for text in outcome:
            assert len(text) <= 512
            assert "\0" not in text
            text.encode()
        return
    assert record.value is not None
    stored = outcome.data.model_dump_json(exclude_none=True)
    assert "\\u0000" not in stored.replace("\\\\", "")
    assert 0 <= outcome.sequence < 2**63
    value = json.loads(record.value)
    VALIDATORS[outcome.type].validate(value.get("data", value))


@settings(max_examples=1_500)
@given(_mutated())
def test_a_broken_record_is_an_event_or_a_rejection(record: Record) -> None:
    _holds(decode(record), record)


_HEADER_NAMES = st.sampled_from(
    ["ce_id", "ce_source", "ce_type", "ce_time", "ce_subject", "ce_tenantid", "ce_specversion",
     "ce_sequence", "ce_traceparent", "content-type", "other"]
) | st.text(max_size=5)  # fmt: skip
_HEADER_VALUES = st.none() | st.binary(max_size=20) | st.sampled_from(
    [value for record in VALID for _, value in record.headers]
)  # fmt: skip


@settings(max_examples=500)
@given(
    st.builds(
        Record,
        key=st.none() | st.binary(max_size=40),
        value=st.none() | st.binary(max_size=60) | st.sampled_from([r.value for r in VALID]),
        headers=st.lists(st.tuples(_HEADER_NAMES, _HEADER_VALUES), max_size=12),
    )
)
def test_anything_at_all_is_an_event_or_a_rejection(record: Record) -> None:
    _holds(decode(record), record)


_WHERE: dict[str, Any] = {
    "tenant": "acme",
    "execution_id": SUBJECT,
    "source": "/providers/ecs",
    "reported": BEGIN,
}


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"tenant": "no/slash"}, "tenantid"),
        ({"tenant": ""}, "tenantid"),
        ({"execution_id": "5"}, "subject"),
        ({"source": ""}, "source"),
        ({"source": "\ud800"}, "source"),
        ({"source": "x" * 513}, "source"),
        ({"event_id": ""}, "id"),
        ({"event_id": "a\nb"}, "id"),
        ({"sequence": -1}, "sequence"),
        ({"sequence": 2**63}, "sequence"),
        ({"reported": datetime(2026, 1, 15)}, "time"),
        ({"reported": BEGIN.replace(year=2200)}, "time"),
    ],
)
def test_what_would_be_rejected_is_not_encoded(changes: dict[str, Any], names: str) -> None:
    with pytest.raises(ValueError, match=f"^{names}: "):
        encode(Started(occurred_at=BEGIN), **_WHERE | changes)


def test_a_request_is_not_encoded_under_another_id() -> None:
    with pytest.raises(ValueError, match=r"^subject: "):
        encode(Requested(occurred_at=BEGIN, operation="provision"), **_WHERE)


def test_an_event_too_large_to_be_sent_on_is_not_encoded() -> None:
    data = Started(occurred_at=BEGIN, details={"text": "x" * MAX_EVENT_BYTES})
    with pytest.raises(ValueError, match=r"^value: "):
        encode(data, **_WHERE)


def test_without_an_id_each_event_gets_its_own() -> None:
    ids = {dict(encode(Started(occurred_at=BEGIN), **_WHERE).headers)["ce_id"] for _ in range(2)}
    assert len(ids) == 2


@pytest.mark.parametrize("broken", [b"", b"\xff", b"00-xyz", b"00-" + b"0" * 60])
def test_a_broken_trace_context_does_not_cost_the_event(broken: bytes) -> None:
    record = encode(Started(occurred_at=BEGIN), **_WHERE)
    headers = [*record.headers, ("ce_traceparent", broken)]
    event = decode(Record(record.key, record.value, headers))
    assert isinstance(event, Event)
    assert event.traceparent is None


@pytest.mark.parametrize(
    "written",
    ["2026-01-15T09:30:00Z", "2026-01-15t09:30:00z", "2026-01-15T10:30:00+01:00",
     "2026-01-15T09:30:00.000000999Z"],
)  # fmt: skip
def test_a_time_may_be_written_in_any_way_of_rfc_3339(written: str) -> None:
    record = encode(Started(occurred_at=BEGIN), **_WHERE)
    headers = dict(record.headers) | {"ce_time": written.encode()}
    value = json.dumps({"occurred_at": written}).encode()
    event = decode(Record(record.key, value, [*headers.items()]))
    assert isinstance(event, Event), event
    assert moment(event.reported) == moment(event.occurred) == BEGIN


@pytest.mark.parametrize(
    "content_type",
    [None, b"", b"application/json", b"application/json; charset=utf-8", b"Application/JSON"],
)
def test_the_content_type_may_be_written_in_any_way(content_type: bytes | None) -> None:
    record = encode(Started(occurred_at=BEGIN), **_WHERE)
    headers = dict[str, bytes | None](record.headers) | {"content-type": content_type}
    assert isinstance(decode(Record(record.key, record.value, [*headers.items()])), Event)


def test_null_attributes_of_a_structured_event_are_unset() -> None:
    record: Encoded = structured(encode(Started(occurred_at=BEGIN), **_WHERE))
    envelope = json.loads(record.value) | {"dataschema": None, "sequence": None}
    event = decode(Record(record.key, json.dumps(envelope).encode(), record.headers))
    assert isinstance(event, Event), event
    assert event.sequence == 0


def test_members_that_this_version_does_not_know_are_ignored_everywhere() -> None:
    for example in examples():
        if example.name.endswith("structured"):
            continue
        value = json.loads(example.record.value)
        unknown = json.dumps(_with_unknown(value)).encode()
        before = decode(Record(*example.record))
        after = decode(Record(example.record.key, unknown, example.record.headers))
        assert after == before


def _with_unknown(value: Any) -> Any:
    """A member more in every object, except in those that may have any member or only text."""
    if isinstance(value, list):
        return [_with_unknown(item) for item in value]
    if not isinstance(value, dict):
        return value
    free = {"parameters", "labels", "details", "outputs", "attributes"}
    known = {name: item if name in free else _with_unknown(item) for name, item in value.items()}
    return known | {"a member of a later version": 1}
