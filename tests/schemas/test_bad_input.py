"""Each rule of the contract, broken once: the rejection names the reason and the field."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from milepost.schemas.binding import Headers, Rejection, decode
from milepost.schemas.events import Started
from milepost.schemas.topics import MAX_EVENT_BYTES
from schemas.records import Record

EXECUTION = "5b0d7f0c-6a51-5d0b-9d7e-6d3c1f0a9e42"
KEYED = "2752fe1d-e26c-5317-ba64-ee07aca23c9e"  # acme, provision, order-7
OCCURRED = {"occurred_at": "2026-01-15T09:30:00Z"}
RESOURCE = {"kind": "ecs.task", "id": "arn"}
STRUCTURED = b"application/cloudevents+json"


def _headers(type_: str, subject: str, **changes: bytes | None) -> Headers:
    headers: dict[str, bytes | None] = {
        "ce_specversion": b"1.0",
        "ce_id": b"1",
        "ce_source": b"/providers/ecs",
        "ce_type": f"milepost.execution.{type_}.v1".encode(),
        "ce_time": b"2026-01-15T09:30:01Z",
        "ce_subject": subject.encode(),
        "ce_tenantid": b"acme",
        "content-type": b"application/json",
    }
    return [*(headers | changes).items()]


def _raw(value: bytes | None, type_: str = "started") -> Record:
    return Record(EXECUTION.encode(), value, _headers(type_, EXECUTION))


def _data(type_: str, **members: Any) -> Record:
    return _raw(json.dumps(OCCURRED | members).encode(), type_)


def _json(member: str, text: str, type_: str = "started") -> Record:
    """A member as written, where Python would write it otherwise."""
    return _raw(f'{{"occurred_at": "2026-01-15T09:30:00Z", "{member}": {text}}}'.encode(), type_)


def _requested(**members: Any) -> Record:
    request = OCCURRED | {"operation": "provision", "idempotency_key": "order-7"} | members
    return Record(KEYED.encode(), json.dumps(request).encode(), _headers("requested", KEYED))


def _with(**changes: bytes | None) -> Record:
    value = json.dumps(OCCURRED).encode()
    return Record(EXECUTION.encode(), value, _headers("started", EXECUTION, **changes))


def _without(name: str) -> Record:
    record = _with()
    return record._replace(headers=[item for item in record.headers if item[0] != name])


def _again(name: str, value: bytes) -> Record:
    record = _with()
    return record._replace(headers=[*record.headers, (name, value)])


def _text_of(**changes: Any) -> str:
    envelope = {
        "specversion": "1.0",
        "id": "1",
        "source": "/providers/ecs",
        "type": "milepost.execution.started.v1",
        "time": "2026-01-15T09:30:01Z",
        "subject": EXECUTION,
        "tenantid": "acme",
        "data": OCCURRED,
    }
    return json.dumps(envelope | changes)


def _envelope(text: str) -> Record:
    return Record(EXECUTION.encode(), text.encode(), [("content-type", STRUCTURED)])


def _structured(**changes: Any) -> Record:
    return _envelope(_text_of(**changes))


def _deep(levels: int) -> str:
    return '{"a":' * levels + "1" + "}" * levels


def test_the_records_that_the_rules_break_are_fine_themselves() -> None:
    fine = [
        _with(),
        _structured(),
        _requested(),
        _data("started", resources=[RESOURCE] * 1_000),
        _data("started", resources=[RESOURCE | {"id": "é" * 512}]),
        _data("progressed", log_lines=[{"message": "x" * 8_192}] * 100),
        _data("progressed", log_lines=[{"message": ""}] * 200),
        _json("details", _deep(32)),
        _json("details", f'{{"a": [{-(2**63)}, {2**63 - 1}]}}'),
        _requested(parameters={"a": [-(2**53) + 1, 2**53 - 1]}),
        _requested(labels={f"l{number}": "x" * 255 for number in range(64)}),
        _with(ce_sequence=str(2**63 - 1).encode()),
        _with(ce_id="é".encode() * 512),
    ]
    for record in fine:
        outcome = decode(record)
        assert not isinstance(outcome, Rejection), outcome


BAD: dict[str, tuple[Record, str, str]] = {
    # The value
    "no value": (_raw(None), "empty", "value"),
    "an empty value": (_raw(b""), "undecodable", "value"),
    "not JSON": (_raw(b"{occurred_at}"), "undecodable", "value"),
    "two values": (_raw(b"{} {}"), "undecodable", "value"),
    "not UTF-8": (_raw(b'{"occurred_at": "\xff"}'), "undecodable", "value"),
    "UTF-16": (_raw('{"occurred_at": ""}'.encode("utf-16")), "undecodable", "value"),
    "a list": (_raw(b"[]"), "invalid", "value"),
    "a string": (_raw(b'"x"'), "invalid", "value"),
    "null": (_raw(b"null"), "invalid", "value"),
    "too large": (_raw(b" " * (MAX_EVENT_BYTES + 1)), "too_large", "value"),
    "deeper than a parser can go": (_json("details", _deep(10_000)), "undecodable", "value"),
    "deep where it is ignored": (_json("other", _deep(10_000)), "undecodable", "value"),
    "deep lists": (_json("details", "[" * 10_000 + "]" * 10_000), "undecodable", "value"),
    "one level too deep": (_json("details", _deep(33)), "invalid", "details"),
    # Text
    "NUL in text": (_data("cancelled", reason="a\0b"), "invalid", "reason"),
    "NUL in a JSON object": (_data("started", details={"a": ["\0"]}), "invalid", "details"),
    "NUL in a name": (_data("started", details={"\0": 1}), "invalid", "details"),
    "NUL in a label": (_requested(labels={"team": "\0"}), "invalid", "labels.team"),
    "a lone surrogate": (_json("details", r'{"a": "\ud800"}'), "undecodable", "value"),
    "a lone low surrogate": (_json("details", r'{"a": "\udc00"}'), "undecodable", "value"),
    "a lone surrogate in a name": (_json("details", r'{"\ud800": 1}'), "undecodable", "value"),
    "too long a message": (
        _data("progressed", progress={"message": "x" * 8_193}),
        "invalid",
        "progress.message",
    ),
    "too long a reason": (_data("cancelled", reason="x" * 8_193), "invalid", "reason"),
    "too long a key": (_requested(idempotency_key="x" * 256), "invalid", "idempotency_key"),
    "an empty key": (_requested(idempotency_key=""), "invalid", "idempotency_key"),
    "too long a link": (_data("progressed", log_link="x" * 2_049), "invalid", "log_link"),
    "too long a resource id": (
        _data("started", resources=[RESOURCE | {"id": "x" * 513}]),
        "invalid",
        "resources.0.id",
    ),
    "too long a label": (_requested(labels={"team": "x" * 256}), "invalid", "labels.team"),
    "too long a label's name": (
        _requested(labels={"x" * 64: ""}),
        "invalid",
        f"labels.{'x' * 64}.[key]",
    ),
    "no word": (_requested(operation="Provision!"), "invalid", "operation"),
    "no digest": (_requested(parameters_digest="abc"), "invalid", "parameters_digest"),
    "text that is a number": (_data("cancelled", reason=1), "invalid", "reason"),
    # Numbers
    "1e400": (_json("details", '{"a": 1e400}'), "invalid", "details"),
    "-1e400": (_json("details", '{"a": [-1e400]}'), "invalid", "details"),
    "NaN": (_json("details", '{"a": NaN}'), "invalid", "details"),
    "beyond 64 bits": (_data("started", details={"a": 2**63}), "invalid", "details"),
    "beyond 64 bits below": (_data("started", details={"a": -(2**63) - 1}), "invalid", "details"),
    "4,000 digits": (_json("details", f'{{"a": {"9" * 4_000}}}'), "invalid", "details"),
    "5,000 digits": (_json("details", f'{{"a": {"9" * 5_000}}}'), "undecodable", "value"),
    "2**53 in parameters": (_requested(parameters={"a": 2**53}), "invalid", "parameters"),
    "-2**53 in parameters": (_requested(parameters={"a": [-(2**53)]}), "invalid", "parameters"),
    "above 100 %": (
        _data("progressed", progress={"percent": 100.1}),
        "invalid",
        "progress.percent",
    ),
    "an infinite percentage": (
        _json("progress", '{"percent": 1e400}', "progressed"),
        "invalid",
        "progress.percent",
    ),
    "a percentage in quotes": (
        _data("progressed", progress={"percent": "40"}),
        "invalid",
        "progress.percent",
    ),
    "true per cent": (
        _data("progressed", progress={"percent": True}),
        "invalid",
        "progress.percent",
    ),
    "half a step": (_data("progressed", progress={"step": 1.5}), "invalid", "progress.step"),
    "a step before the first": (
        _data("progressed", progress={"step": -1}),
        "invalid",
        "progress.step",
    ),
    "too many steps": (
        _data("progressed", progress={"steps": 2**63}),
        "invalid",
        "progress.steps",
    ),
    "no heartbeat": (
        _requested(expectations={"heartbeat_seconds": 0}),
        "invalid",
        "expectations.heartbeat_seconds",
    ),
    # Times
    "year 1": (_data("started", occurred_at="0001-01-01T00:00:00Z"), "invalid", "occurred_at"),
    "before 1970": (
        _data("started", occurred_at="1969-12-31T23:59:59.999999Z"),
        "invalid",
        "occurred_at",
    ),
    "year 2200": (_data("started", occurred_at="2200-01-01T00:00:00Z"), "invalid", "occurred_at"),
    "year 9999": (_data("started", occurred_at="9999-12-31T23:59:59Z"), "invalid", "occurred_at"),
    "no offset": (_data("started", occurred_at="2026-01-15T09:30:00"), "invalid", "occurred_at"),
    "a day": (_data("started", occurred_at="2026-01-15"), "invalid", "occurred_at"),
    "seconds": (_data("started", occurred_at=1_768_469_400), "invalid", "occurred_at"),
    "seconds in quotes": (_data("started", occurred_at="1768469400"), "invalid", "occurred_at"),
    "no time": (_data("started", occurred_at=None), "invalid", "occurred_at"),
    "no such day": (_data("started", occurred_at="2026-02-30T00:00:00Z"), "invalid", "occurred_at"),
    "reported in year 1": (_with(ce_time=b"0001-01-01T00:00:00+14:00"), "invalid", "time"),
    "reported with three digits of seconds": (
        _with(ce_time=b"2026-11-01T00:00:044Z"), "invalid", "time",
    ),
    "reported as a week": (_with(ce_time=b"2026-W45-1T00:00:00Z"), "invalid", "time"),
    "reported without dashes": (_with(ce_time=b"20261101T000001Z"), "invalid", "time"),
    "reported in year 9999": (_with(ce_time=b"9999-12-31T23:59:59-14:00"), "invalid", "time"),
    "reported without offset": (_with(ce_time=b"2026-01-15T09:30:00"), "invalid", "time"),
    "reported in seconds": (_with(ce_time=b"1768469400"), "invalid", "time"),
    "reported in no UTF-8": (_with(ce_time=b"\xff"), "invalid", "time"),
    # Members
    "no occurred_at": (_raw(b"{}"), "missing", "occurred_at"),
    "no operation": (
        Record(KEYED.encode(), json.dumps(OCCURRED).encode(), _headers("requested", KEYED)),
        "missing",
        "operation",
    ),
    "no failure": (_data("failed"), "missing", "failure"),
    "no failure code": (_data("failed", failure={"message": ""}), "missing", "failure.code"),
    "no such category": (
        _data("failed", failure={"code": "x", "message": "", "category": "odd"}),
        "invalid",
        "failure.category",
    ),
    "no resource id": (_data("started", resources=[{"kind": "pod"}]), "missing", "resources.0.id"),
    "a resource that is text": (_data("started", resources=["arn"]), "invalid", "resources.0"),
    "details that are a list": (_data("started", details=[]), "invalid", "details"),
    "1,001 resources": (_data("started", resources=[RESOURCE] * 1_001), "invalid", "resources"),
    "201 log lines": (
        _data("progressed", log_lines=[{"message": ""}] * 201),
        "invalid",
        "log_lines",
    ),
    "201 last lines": (
        _data("failed", failure={"code": "x", "message": "", "last_lines": [""] * 201}),
        "invalid",
        "failure.last_lines",
    ),
    "65 labels": (
        _requested(labels={f"l{number}": "" for number in range(65)}),
        "invalid",
        "labels",
    ),
    "a link to no execution": (
        _requested(links={"retry_of": "x"}),
        "invalid",
        "links.retry_of",
    ),
    "parameters and their digest": (
        _requested(parameters={}, parameters_digest="0" * 64),
        "invalid",
        "value",
    ),
    "a digest without a key": (
        _requested(idempotency_key=None, parameters_digest="0" * 64),
        "invalid",
        "value",
    ),
    # Attributes
    "no specversion": (_without("ce_specversion"), "missing", "specversion"),
    "another specversion": (_with(ce_specversion=b"0.3"), "missing", "specversion"),
    **{
        f"{problem} {name}": (record, "missing", name)
        for name in ("id", "source", "type", "time", "subject", "tenantid")
        for problem, record in {
            "no": _without(f"ce_{name}"),
            "empty": _with(**{f"ce_{name}": b""}),
            "null": _with(**{f"ce_{name}": None}),
        }.items()
    },
    "no headers": (_with()._replace(headers=[]), "missing", "specversion"),
    "an id that is not UTF-8": (_with(ce_id=b"\xff"), "undecodable", "id"),
    "a source that is not UTF-8": (_with(ce_source=b"\xc3("), "undecodable", "source"),
    "a type that is not UTF-8": (_with(ce_type=b"\xff"), "unknown_type", "type"),
    "a surrogate in UTF-8": (_with(ce_source=b"\xed\xa0\x80"), "undecodable", "source"),
    "too long an id": (_with(ce_id=b"x" * 513), "invalid", "id"),
    "too long a source": (_with(ce_source=b"x" * 513), "invalid", "source"),
    "NUL in an id": (_with(ce_id=b"a\0"), "invalid", "id"),
    "a line break in a source": (_with(ce_source=b"a\n"), "invalid", "source"),
    "a repeated id": (_again("ce_id", b"1"), "repeated_header", "ce_id"),
    "a repeated tenant": (_again("ce_tenantid", b"acme"), "repeated_header", "ce_tenantid"),
    "a repeated extension": (
        _again("ce_x", b"1")._replace(headers=[*_with().headers, ("ce_x", b""), ("ce_x", b"")]),
        "repeated_header",
        "ce_x",
    ),
    "a repeated content type": (
        _again("content-type", b"application/json"),
        "repeated_header",
        "content-type",
    ),
    "an unknown type": (
        _with(ce_type=b"milepost.execution.exploded.v1"),
        "unknown_type",
        "type",
    ),
    "an unknown version": (_with(ce_type=b"milepost.execution.started.v2"), "unknown_type", "type"),
    "a tenant with a slash": (_with(ce_tenantid=b"a/b"), "invalid", "tenantid"),
    "a tenant with a line break": (_with(ce_tenantid=b"acme\n"), "invalid", "tenantid"),
    "too long a tenant": (_with(ce_tenantid=b"a" * 129), "invalid", "tenantid"),
    "a subject that is no id": (_with(ce_subject=b"execution-7"), "invalid", "subject"),
    "a subject in capitals": (_with(ce_subject=EXECUTION.upper().encode()), "invalid", "subject"),
    "a sequence below 0": (_with(ce_sequence=b"-1"), "invalid", "sequence"),
    "a sequence beyond 64 bits": (_with(ce_sequence=b"9223372036854775808"), "invalid", "sequence"),
    "a sequence in other digits": (_with(ce_sequence="٣".encode()), "invalid", "sequence"),
    "no key": (_with()._replace(key=None), "key_mismatch", "key"),
    "another key": (_with()._replace(key=KEYED.encode()), "key_mismatch", "key"),
    "an id that does not recompute": (
        _requested(idempotency_key="order-8"),
        "id_mismatch",
        "subject",
    ),
    "another tenant's id": (
        _requested()._replace(headers=_headers("requested", KEYED, ce_tenantid=b"globex")),
        "id_mismatch",
        "subject",
    ),
    # Content types
    "text": (_with(**{"content-type": b"text/plain"}), "content_type", "content-type"),
    "Avro": (
        _with(**{"content-type": b"application/cloudevents+avro"}),
        "content_type",
        "content-type",
    ),
    "a batch": (
        _with(**{"content-type": b"application/cloudevents-batch+json"}),
        "content_type",
        "content-type",
    ),
    "almost JSON": (_with(**{"content-type": b"application/json5"}), "content_type", "content-type"),
    "no text at all": (_with(**{"content-type": b"\xff"}), "content_type", "content-type"),
    # Structured mode
    "structured: not JSON": (_envelope("<xml/>"), "undecodable", "value"),
    "structured: a list": (_envelope("[]"), "undecodable", "value"),
    "structured: deep": (_envelope("[" * 10_000), "undecodable", "value"),
    "structured: infinite": (_envelope('{"id": Infinity}'), "undecodable", "value"),
    "structured: no data": (_structured(data=None), "missing", "data"),
    "structured: data in base 64": (_structured(data="e30="), "missing", "data"),
    "structured: no id": (_structured(id=None), "missing", "id"),
    "structured: an empty id": (_structured(id=""), "missing", "id"),
    "structured: a list as id": (_structured(id=[]), "invalid", "id"),
    "structured: a fraction": (_structured(sequence=1.5), "invalid", "sequence"),
    "structured: another version": (_structured(specversion="0.3"), "missing", "specversion"),
    "structured: bad data": (_structured(data=OCCURRED | {"details": []}), "invalid", "details"),
    "structured: another subject": (_structured(subject=KEYED), "key_mismatch", "key"),
    "structured: 1e400": (
        _envelope(_text_of(data=OCCURRED | {"details": {"a": 7}}).replace('"a": 7', '"a": 1e400')),
        "invalid",
        "details",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_rejected_with_reason_and_field(name: str) -> None:
    record, reason, field = BAD[name]
    outcome = decode(record)
    assert isinstance(outcome, Rejection), outcome
    assert (outcome.reason, outcome.field) == (reason, field), outcome
    assert outcome.message


@pytest.mark.parametrize(
    "record",
    [
        _requested(labels={"\0" * 100_000: ""}),
        _data("started", details={"x" * 500_000: {"\0": 1}}),
        _again("ce_" + "\0" * 100_000, b"")._replace(
            headers=[(("ce_" + "\0" * 100_000), b"")] * 2,
        ),
        _structured(**{"\0" * 100_000: []}),
        _with(ce_type=b"\0" * 100_000),
    ],
    ids=["label", "name", "header", "attribute", "type"],
)
def test_a_rejection_can_be_stored_and_sent_whatever_it_quotes(record: Record) -> None:
    outcome = decode(record)
    assert isinstance(outcome, Rejection)
    for text in outcome:
        assert len(text) <= 512
        assert "\0" not in text


def test_a_record_full_of_errors_is_not_searched_for_all_of_them() -> None:
    # To list 300,000 takes seconds, in which the partition stands still.
    value = b'{"occurred_at": 1, "resources": [' + b"{}," * 300_000 + b"{}]}"
    with pytest.raises(ValidationError) as refused:
        Started.model_validate_json(value, extra="ignore")
    assert refused.value.error_count() < 5
    outcome = decode(_raw(value))
    assert isinstance(outcome, Rejection)
    assert outcome.field == "occurred_at"
