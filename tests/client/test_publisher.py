"""The publisher against a real broker: what it writes, and how it fails."""

import asyncio
import socket
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from cloudevents.core.v1.event import CloudEvent

from log import events, records
from milepost.client import (
    BrokerUnavailable,
    InvalidEvent,
    LogLine,
    MilepostError,
    Publisher,
    RecordTooLarge,
    Resource,
    TopicMissing,
    broker,
    sync,
)
from milepost.schemas.events import Failed, Progressed, Requested, Started, Succeeded
from milepost.schemas.identifiers import execution_id
from milepost.schemas.values import Category, Origin
from milepost.settings import Settings

ARN = "arn:aws:ecs:eu-west-1:1:task/web/1"


@pytest.fixture(scope="module")
async def publisher(broker_settings: Settings) -> AsyncIterator[Publisher]:
    async with Publisher(broker_settings, source="/providers/ecs/eu-west-1") as publisher:
        yield publisher


async def test_an_execution_as_a_provider_reports_it(
    publisher: Publisher, broker_settings: Settings
) -> None:
    run = await publisher.request(
        "acme", "provision", provider="ecs", parameters={"cpu": 256}, labels={"team": "web"}
    )
    assert run.execution_id == execution_id(
        "acme", "provision", provider="ecs", parameters={"cpu": 256}
    )
    await run.started(resources=[Resource("ecs.task", ARN)], details={"cluster": "web"})
    await run.progressed(percent=40, message="pulling image", step=1, steps=3, log_lines=["hello"])
    await run.succeeded(resources=[Resource("ecs.task", ARN)], outputs={"url": "http://x"})

    found = await events(broker_settings, run.execution_id)
    requested, started, progressed, succeeded = (event.data for event in found)
    assert isinstance(requested, Requested)
    assert requested.labels == {"team": "web"}
    assert isinstance(started, Started)
    assert started.resources == (Resource("ecs.task", ARN),)
    assert isinstance(progressed, Progressed)
    assert progressed.progress is not None
    assert progressed.progress.percent == 40
    assert progressed.log_lines == (LogLine(message="hello"),)
    assert isinstance(succeeded, Succeeded)
    assert succeeded.outputs == {"url": "http://x"}
    assert [event.sequence for event in found] == [1, 2, 3, 4]
    assert {event.source for event in found} == {"/providers/ecs/eu-west-1"}
    assert {event.tenant for event in found} == {"acme"}
    assert found[0].id == run.event_id


async def test_the_same_request_has_the_same_id_at_once(publisher: Publisher) -> None:
    one = await publisher.request("acme", "update", key="release-7", parameters={"a": 1})
    two = await publisher.request("acme", "update", key="release-7", parameters={"a": 1})
    other = await publisher.request("globex", "update", key="release-7", parameters={"a": 1})
    assert one.execution_id == two.execution_id != other.execution_id
    assert one.event_id != two.event_id


async def test_a_failure_with_all_it_says(publisher: Publisher, broker_settings: Settings) -> None:
    run = publisher.execution("acme", str(uuid4()))
    moment = datetime(2026, 3, 1, tzinfo=UTC)
    published = await run.failed(
        "OutOfMemory", "killed", category="retriable", origin="tenant", last_lines=["a", "b"],
        occurred_at=moment, event_id="e-1", traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01",
    )  # fmt: skip
    assert published.event_id == "e-1"
    [event] = await events(broker_settings, run.execution_id)
    assert (event.partition, event.offset) == published[1:]
    assert isinstance(event.data, Failed)
    assert event.data.occurred_at == moment
    assert event.data.failure.category is Category.RETRIABLE
    assert event.data.failure.origin is Origin.TENANT
    assert event.data.failure.last_lines == ("a", "b")
    assert event.traceparent is not None


async def test_a_standard_failure_has_the_catalogues_category_and_origin(
    publisher: Publisher, broker_settings: Settings
) -> None:
    run = publisher.execution("acme", str(uuid4()))
    await run.failed("quota_exceeded", "no addresses left")
    await run.failed("quota_exceeded", "no addresses left", category="retriable", origin="provider")
    await run.failed("OutOfAddresses", "no addresses left")
    failures = [
        event.data.failure
        for event in await events(broker_settings, run.execution_id)
        if isinstance(event.data, Failed)
    ]
    assert [(one.category, one.origin) for one in failures] == [
        ("requires_manual_intervention", "tenant"),
        ("retriable", "provider"),
        ("non_retriable", "provider"),
    ]


async def test_many_at_once_are_all_acknowledged_and_stay_in_order(
    publisher: Publisher, broker_settings: Settings
) -> None:
    run = publisher.execution("acme", str(uuid4()))
    published = await asyncio.gather(*(run.progressed(step=number) for number in range(1_000)))
    await publisher.flush()
    offsets = [one.offset for one in published]
    assert offsets == sorted(set(offsets))
    found = await events(broker_settings, run.execution_id)
    assert [event.sequence for event in found] == list(range(1, 1_001))


async def test_without_a_time_the_clock_tells_it(broker_settings: Settings) -> None:
    moment = datetime(2026, 7, 1, 12, tzinfo=UTC)
    async with Publisher(broker_settings, clock=lambda: moment) as publisher:
        run = publisher.execution("acme", str(uuid4()))
        await run.cancelled(reason="not needed")
    [event] = await events(broker_settings, run.execution_id)
    assert event.data.occurred_at == moment
    assert event.occurred == event.reported
    assert event.source == f"/sdk/{socket.gethostname()}"


async def test_a_cancellation_request(publisher: Publisher, broker_settings: Settings) -> None:
    execution = str(uuid4())
    await publisher.cancel("acme", execution, reason="too slow", requested_by="ann")
    [event] = await events(broker_settings, execution)
    assert event.type == "milepost.execution.cancellation_requested.v1"


async def test_what_breaks_the_contract_is_refused_with_its_field(
    publisher: Publisher, broker_settings: Settings
) -> None:
    before = len(await records(broker_settings, broker_settings.topics.events))
    run = publisher.execution("acme", str(uuid4()))
    for field, attempt in {
        "progress.percent": run.progressed(percent=101),
        "failure.code": run.failed("no such code", "spaces are not allowed"),
        "outputs": run.succeeded(outputs={"text": "a\0b"}),
        "occurred_at": run.started(occurred_at=datetime(2026, 1, 1)),
        "operation": publisher.request("acme", "Provision!"),
        "parameters": publisher.request("acme", "provision", parameters={"n": 2**60}),
        "tenantid": publisher.request("no such tenant", "provision"),
        "subject": publisher.cancel("acme", "not-an-id"),
    }.items():
        with pytest.raises(InvalidEvent) as caught:
            await attempt
        assert caught.value.field == field
        assert str(caught.value).startswith(field)
    assert len(await records(broker_settings, broker_settings.topics.events)) == before


async def test_text_that_is_not_unicode_is_refused(publisher: Publisher) -> None:
    with pytest.raises(InvalidEvent):
        await publisher.request("acme", "provision", parameters={"text": "\ud800"})


async def test_what_does_not_fit_in_a_record_is_refused_and_the_next_goes_through(
    publisher: Publisher,
) -> None:
    run = publisher.execution("acme", str(uuid4()))
    with pytest.raises(RecordTooLarge, match="at most 1,048,576"):
        await run.succeeded(outputs={"text": "x" * 1_100_000})
    await run.succeeded(outputs={"text": "x" * 1_000_000})


async def test_a_cloudevent_of_the_sdk(publisher: Publisher, broker_settings: Settings) -> None:
    execution = str(uuid4())
    attributes = {
        "type": "milepost.execution.started.v1",
        "source": "/mine",
        "subject": execution,
        "tenantid": "acme",
    }
    data = {"occurred_at": "2026-03-01T10:00:00Z", "details": {"a": 1}, "later": "unknown"}
    published = await publisher.publish_cloudevent(CloudEvent(dict(attributes), data))
    [event] = await events(broker_settings, execution)
    assert event.id == published.event_id
    assert isinstance(event.data, Started)
    assert event.data.details == {"a": 1}
    raw = await records(broker_settings, broker_settings.topics.events)
    assert any(b'"later"' in record.value for record in raw)

    del attributes["tenantid"]
    with pytest.raises(InvalidEvent) as caught:
        await publisher.publish_cloudevent(CloudEvent(dict(attributes), data))
    assert caught.value.field == "tenantid"


async def test_without_an_event_loop(broker_settings: Settings) -> None:
    def publish() -> str:
        with sync.Publisher(broker_settings) as publisher:
            run = publisher.request("acme", "provision", provider="ecs", key="sync")
            run.started()
            publisher.execution("acme", run.execution_id).succeeded()
            with pytest.raises(InvalidEvent):
                run.progressed(percent=-1)
        with pytest.raises(MilepostError, match="not open"):
            run.started()
        return run.execution_id

    execution = await asyncio.to_thread(publish)
    assert len(await events(broker_settings, execution)) == 3


async def test_a_broker_that_is_away_is_named_in_bounded_time() -> None:
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        servers = f"127.0.0.1:{unheard.getsockname()[1]}"
        with pytest.raises(BrokerUnavailable, match=f"{servers} within 0.5 s"):
            async with Publisher(Settings(kafka_bootstrap_servers=servers), timeout=0.5):
                pass


async def test_a_missing_topic_is_named(
    broker_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker, "_TOPIC_SECONDS", 0)
    wrong = broker_settings.model_copy(update={"topic_prefix": "no-such-prefix."})
    with pytest.raises(TopicMissing, match="milepost topics apply"):
        async with Publisher(wrong):
            pass
