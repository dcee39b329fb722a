"""What people and consumers see: every view, completion and command fits its published model exactly."""

from datetime import timedelta
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from milepost.projections import body
from milepost.projections.batch import Folded, decode_all, fold
from milepost.projections.outgoing import (
    Outgoing,
    pack,
    pack_headers,
    unpack,
    unpack_headers,
)
from milepost.projections.view import render, to_json
from milepost.schemas.binding import encode, moment
from milepost.schemas.events import EventData
from milepost.schemas.failures import CATALOGUE
from milepost.schemas.notifications import Command, Completion, Execution, ViewedFailure
from milepost.schemas.topics import MAX_EVENT_BYTES, MAX_OUTGOING_BYTES
from milepost.schemas.values import EARLIEST, LATEST, Failure, Links, Resource
from projections.histories import histories, law
from projections.runs import TOPICS, Record, Run, minute, placed
from schemas.strategies import encodings

run = Run(parameters={"size": 1})
MODELS: dict[str, type[BaseModel]] = {
    TOPICS.commands: Command,
    f"{TOPICS.prefix}succeeded.v1": Completion,
    f"{TOPICS.prefix}failed.v1": Completion,
    f"{TOPICS.prefix}cancelled.v1": Completion,
}


def assert_fits(value: bytes, model: type[BaseModel]) -> Any:
    """All members that the model requires, and at no depth one that it does not know."""
    parsed = model.model_validate_json(value)
    assert orjson.loads(parsed.model_dump_json(exclude_unset=True)) == orjson.loads(value)
    return parsed


def folding(*records: Record) -> Folded:
    return fold(decode_all(placed(records)), {}, TOPICS)


def sent(*records: Record) -> list[Any]:
    """What these records make Milepost send out, parsed."""
    return [
        assert_fits(record.value or b"", MODELS[record.topic])
        for record in folding(*records).outgoing
    ]


class TestModels:
    @law
    @given(histories(maximum=10, ends=3, states=3))
    def test_everything_fits_its_model_whatever_happened(self, history: list[Record]) -> None:
        result = folding(*history)
        for record in result.outgoing:
            assert_fits(record.value or b"", MODELS[record.topic])
        for _, execution in result.executions:
            assert_fits(to_json(render(body.fields(execution))), Execution)
            stored = orjson.loads(body.dump(execution))
            assert to_json(render(stored)) == to_json(render(body.fields(execution)))

    @law
    @given(encodings())
    def test_everything_fits_its_model_whatever_is_told(
        self, made: tuple[EventData, dict[str, Any]]
    ) -> None:
        data, arguments = made
        encoded = encode(data, **arguments)
        record = Record(TOPICS.events, 0, 0, 10**12, encoded.key, encoded.value, encoded.headers)
        result = folding(record)
        [(_, execution)] = result.executions
        assert_fits(to_json(render(body.fields(execution))), Execution)
        for outgoing in result.outgoing:
            assert_fits(outgoing.value or b"", MODELS[outgoing.topic])

    def test_every_member_of_the_view_is_there(self) -> None:
        [(_, execution)] = folding(run.started()).executions
        judged = {"silent_since", "overdue_since"}  # by the API, with the time
        assert render(body.fields(execution)).keys() == Execution.model_fields.keys() - judged


class TestCommands:
    def test_the_start_says_all_that_a_provider_needs(self) -> None:
        parent = Run(key="parent").execution_id
        [command] = sent(
            run.requested(id="r-1", labels={"team": "a"}, links=Links(parent=parent)),
        )
        assert command == Command(
            id=command.id,
            command="start",
            execution_id=run.execution_id,
            tenant="acme",
            event_id="r-1",
            operation="provision",
            provider="ecs",
            idempotency_key="k-1",
            parameters={"size": 1},
            parameters_digest=None,
            labels={"team": "a"},
            links={"parent": parent},
            expectations={},
        )

    def test_the_cancellation_says_who_and_why(self) -> None:
        _, command = sent(
            run.requested(),
            run.cancellation_requested(id="c-1", reason="not needed", requested_by="eva"),
        )
        assert (command.command, command.event_id) == ("cancel", "c-1")
        assert (command.reason, command.requested_by) == ("not needed", "eva")
        assert (command.provider, command.parameters) == ("ecs", {"size": 1})

    def test_start_and_cancellation_of_one_event_have_different_ids(self) -> None:
        start, cancel = sent(run.cancellation_requested(reason="early"), run.requested())
        assert (start.command, cancel.command) == ("start", "cancel")
        assert start.id != cancel.id
        assert (start.reason, cancel.reason) == (None, "early")


class TestCompletions:
    def test_a_completion_is_the_whole_view_at_the_end(self) -> None:
        resources = (Resource("ecs.task", "task-1", status="up"),)
        *_, completion = sent(
            run.requested(),
            run.started(),
            run.succeeded(resources=resources, outputs={"url": "https://shop"}),
        )
        assert (completion.state, completion.version, completion.requested) == (
            "succeeded",
            3,
            True,
        )
        assert completion.outputs == {"url": "https://shop"}
        assert [(held.id, held.provider) for held in completion.resources] == [("task-1", "ecs")]
        assert completion.duration_seconds == 300
        assert (completion.requested_at, completion.ended_at) == (minute(0), minute(5))

    def test_an_end_before_its_request_says_so(self) -> None:
        [completion] = sent(run.failed())
        assert not completion.requested
        assert (completion.operation, completion.labels) == (None, {})
        assert completion.failure == ViewedFailure(code="image_missing", message="no such image")
        assert completion.failure.next_step is None

    def test_a_standard_failure_comes_with_what_to_do_next(self) -> None:
        known = CATALOGUE[0]
        report = run.failed(failure=Failure(code=known.code, message=""))
        [completion] = sent(report)
        assert completion.failure.next_step == known.next_step
        # What is held is as it was reported.
        [(_, execution)] = folding(report).executions
        assert "next_step" not in execution.fact("outcome")["failure"]

    def test_its_headers_are_a_cloud_event(self) -> None:
        traceparent = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        report = run.failed(recorded=7)
        report = report._replace(headers=[*report.headers, ("ce_traceparent", traceparent)])
        result = folding(report)
        [completion] = result.outgoing
        assert completion.topic == f"{TOPICS.prefix}failed.v1"
        assert completion.key == run.execution_id.encode()
        assert dict(completion.headers) == {
            "ce_specversion": b"1.0",
            "ce_id": orjson.loads(completion.value or b"")["id"].encode(),
            "ce_source": b"/milepost",
            "ce_type": b"milepost.completion.failed.v1",
            "ce_time": to_json(minute(7)).strip(b'"'),
            "ce_subject": run.execution_id.encode(),
            "ce_tenantid": b"acme",
            "content-type": b"application/json",
            "ce_traceparent": traceparent,
        }
        [row] = result.log
        assert row.emitted == pack([completion])

    def test_resources_that_do_not_fit_are_omitted_and_counted(self) -> None:
        big = [
            run.progressed(at=number, resources=(_big(f"pod-{number}"), _big(f"job-{number}")))
            for number in range(2)
        ]
        [completion] = folding(*big, run.failed()).outgoing
        assert len(completion.value or b"") <= MAX_EVENT_BYTES + 100
        parsed = assert_fits(completion.value or b"", Completion)
        assert [held.id for held in parsed.resources] == ["job-0", "job-1"]
        assert parsed.resources_omitted == 2


class TestSize:
    """Whatever comes in, what goes out is a record that the broker takes."""

    @pytest.mark.parametrize(
        "part",
        [
            {"value": b" " * (MAX_EVENT_BYTES * 4)},
            {"key": b" " * (MAX_EVENT_BYTES * 4)},
            {"headers": [("x", b" " * MAX_EVENT_BYTES)] * 4},
        ],
    )
    def test_a_quarantined_record_that_came_compressed_fits(self, part: dict[str, Any]) -> None:
        oversized = run.started()._replace(**{"value": b"?"} | part)
        result = folding(oversized)
        assert _largest(result) <= MAX_OUTGOING_BYTES
        assert int(dict(result.outgoing[0].headers)["milepost-omitted-bytes"] or 0) > 4_000_000
        assert result.log[0].value == oversized.value

    def test_big_outputs_of_a_run_with_big_parameters_fit(self) -> None:
        half = {"text": "x" * 900_000}
        result = folding(Run(parameters=half).requested(), Run().succeeded(outputs=half))
        assert _largest(result) <= MAX_OUTGOING_BYTES

    def test_numbers_that_grow_when_written_fit(self) -> None:
        short = Run(parameters={"numbers": [1e15]}).requested()
        value = (short.value or b"").replace(
            b"[1000000000000000.0]", b"[" + b",".join([b"1e15"] * 200_000) + b"]"
        )
        assert MAX_EVENT_BYTES * 0.9 < len(value) < MAX_EVENT_BYTES
        result = folding(short._replace(value=value))
        assert [row.disposition for row in result.log] == ["applied"]
        assert _largest(result) <= MAX_OUTGOING_BYTES


class TestQuarantine:
    def test_the_raw_record_comes_first_then_why_and_whence(self) -> None:
        headers = [("a", b"\xff\x00"), ("a", None), ("content-type", b"text/plain")]
        raw = Record(TOPICS.events, 3, 42, 0, b"\xfe", b"\xff{", headers).recorded_at(minute(0))
        result = fold(decode_all([raw]), {}, TOPICS)
        [quarantined] = result.outgoing
        assert quarantined == Outgoing(
            TOPICS.quarantine,
            b"\xfe",
            [
                *headers,
                ("milepost-type", b"milepost.quarantine.v1"),
                ("milepost-reason", b"content_type"),
                ("milepost-field", b"content-type"),
                (
                    "milepost-message",
                    b"expected application/json or application/cloudevents+json",
                ),
                ("milepost-origin", b"milepost.executions.events.v1/3/42"),
                ("milepost-recorded-at", b"2026-01-15 09:30:00+00:00"),
            ],
            b"\xff{",
        )
        [row] = result.log
        assert (row.disposition, row.tenant, row.execution_id) == ("quarantined", None, None)
        assert row.reason == (
            "content_type: content-type: expected application/json or application/cloudevents+json"
        )

    @pytest.mark.parametrize("value", [None, b""])
    def test_nothing_stays_nothing(self, value: bytes | None) -> None:
        [quarantined] = folding(run.started()._replace(value=value, key=None)).outgoing
        assert (quarantined.key, quarantined.value) == (None, value)


_names = st.text(st.characters(codec="utf-8"), max_size=8)
_bytes = st.none() | st.binary(max_size=8)
_headers = st.lists(st.tuples(_names, _bytes), max_size=4)


class TestTimes:
    @law
    @given(st.integers(0, (LATEST - EARLIEST) // timedelta(microseconds=1) - 1))
    def test_every_microsecond_is_shown_as_it_is(self, microseconds: int) -> None:
        assert moment(microseconds) == EARLIEST + timedelta(microseconds=microseconds)


class TestPacking:
    @law
    @given(st.lists(st.builds(Outgoing, _names, _bytes, _headers, _bytes), max_size=4))
    def test_what_is_stored_is_sent_as_it_was(self, records: list[Outgoing]) -> None:
        assert unpack(pack(records)) == records

    @law
    @given(_headers)
    def test_headers_keep_their_order_repeats_and_bytes(
        self, headers: list[tuple[str, bytes | None]]
    ) -> None:
        assert unpack_headers(pack_headers(headers)) == headers


def _big(name: str) -> Resource:
    return Resource("k8s.pod", name, attributes={"manifest": "x" * 400_000})


def _largest(result: Folded) -> int:
    """Bytes of the largest record that is sent out: key, value and headers."""
    return max(
        len(record.key or b"")
        + len(record.value or b"")
        + sum(len(name) + len(value or b"") for name, value in record.headers)
        for record in result.outgoing
    )
