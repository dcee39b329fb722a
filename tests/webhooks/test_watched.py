"""A stack that is watched: one trace from the caller to the webhook, and what each service counts."""

import json
import socket
from collections.abc import AsyncIterator, Iterator
from typing import NamedTuple

import httpx2
import pytest
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from conftest import StartService
from milepost.client import Publisher
from milepost.monitoring import CannotListen, Checks, listening
from milepost.settings import Settings
from milepost.webhooks.metrics import REGISTRY
from signals import following, read_all
from stack import Service
from webhooks.conftest import Tenant
from webhooks.receiver import Receiver, receiving

# The span that the caller has begun.
CALLER = SpanContext(0x4BF92F3577B34DA6A3CE929D0E0E4736, 0xF067AA0BA902B7, True, TraceFlags(1))
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
TRACE_ID = CALLER.trace_id.to_bytes(16, "big")


class Collected(NamedTuple):
    """A span, and the service that it is of."""

    service: str
    span: Span


class Watched(NamedTuple):
    """The services, where health and metrics of those are that speak no HTTP, and what takes spans."""

    api: Service
    processor: str
    webhooks: str
    collector: Receiver

    def spans(self) -> list[Collected]:
        """What has come, of this trace or linked to it."""
        return [
            Collected(attribute.value.string_value, span)
            for call in self.collector.of("/v1/traces")
            for resource in ExportTraceServiceRequest.FromString(call.body).resource_spans
            for attribute in resource.resource.attributes
            if attribute.key == "service.name"
            for scope in resource.scope_spans
            for span in scope.spans
            if TRACE_ID in (span.trace_id, *(link.trace_id for link in span.links))
        ]

    def named(self, name: str) -> Span:
        """The first span of that name."""
        return next(one.span for one in self.spans() if one.span.name == name)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def environment() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
async def watched(
    settings: Settings, service: StartService, environment: pytest.MonkeyPatch
) -> AsyncIterator[Watched]:
    """A processor, an API and a webhook worker that are traced and measured."""
    async with receiving() as collector:
        environment.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        environment.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
        environment.setenv("OTEL_EXPERIMENTAL_RESOURCE_DETECTORS", "")
        ports = {name: free_port() for name in ("processor", "webhooks")}
        for name, port in ports.items():
            changes = {"metrics_port": port, "log_format": "json"}
            await service(name, settings=settings.model_copy(update=changes))
        api = await service("api", settings=settings.model_copy(update={"log_format": "json"}))
        urls = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
        yield Watched(api, **urls, collector=collector)


async def test_one_trace_leads_from_the_caller_to_the_webhook(
    watched: Watched, settings: Settings, acme: Tenant, receiver: Receiver
) -> None:
    hook = await acme.hook("/hook")
    url = watched.api.ready["api"]
    async with httpx2.AsyncClient(base_url=url, trust_env=False) as http:
        path = f"/v1/tenants/{acme.name}/executions"
        body = {"operation": "provision", "provider": "ecs"}
        asked = await http.post(path, json=body, headers={"traceparent": TRACEPARENT})
    execution_id = asked.json()["execution_id"]
    async with Publisher(settings, source="/test") as publisher, following(settings) as positions:
        with trace.use_span(NonRecordingSpan(CALLER)):
            await publisher.execution(acme.name, execution_id).succeeded()
        await positions.reach_end()
    records = await read_all(settings, settings.topics.events)
    # What the API published goes on from its own span, what the publisher did from the caller's.
    requested, succeeded = (dict(one.headers)["ce_traceparent"].decode() for one in records)
    assert succeeded == TRACEPARENT
    [call] = await receiver.heard(hook.path)
    _, trace_id, sent_by, _ = call.headers["traceparent"].split("-")
    assert bytes.fromhex(trace_id) == TRACE_ID

    wanted = {"milepost-api", "milepost-processor", "milepost-webhooks"}
    await watched.collector.until(lambda: {one.service for one in watched.spans()} >= wanted)
    server = watched.named("POST /v1/tenants/{tenant}/executions")
    assert server.trace_id == TRACE_ID
    assert server.parent_span_id == CALLER.span_id.to_bytes(8, "big")
    assert requested.split("-")[1:3] == [trace_id, server.span_id.hex()]
    folded = watched.named("fold")
    assert folded.trace_id != TRACE_ID
    sent = watched.named("webhook")
    assert (sent.trace_id, sent.span_id.hex()) == (TRACE_ID, sent_by)
    assert sent.parent_span_id == CALLER.span_id.to_bytes(8, "big")
    # Log lines lead there, too.
    lines = [json.loads(line) for line in watched.api.log.read_text().splitlines()]
    [line] = [one for one in lines if one.get("trace_id") == trace_id]
    assert (line["tenant"], line["route"]) == (acme.name, "/v1/tenants/{tenant}/executions")
    await _say_what_they_have_done_and_whether_they_can(watched)


async def _say_what_they_have_done_and_whether_they_can(watched: Watched) -> None:
    """Each service, after one execution."""
    async with httpx2.AsyncClient(trust_env=False) as http:

        async def metrics(url: str) -> dict[str, float]:
            text = (await http.get(f"{url}/metrics")).text
            pairs = [line.rsplit(" ", 1) for line in text.splitlines() if line[0] != "#"]
            return {name: float(value) for name, value in pairs}

        for url in (watched.processor, watched.webhooks):
            assert (await http.get(f"{url}/healthz")).json() == {"status": "ok"}
            ready = await http.get(f"{url}/readyz")
            assert (ready.status_code, ready.json()["ready"]) == (200, True), ready.text
        processor = await metrics(watched.processor)
        assert processor['milepost_folded_records_total{disposition="applied"}'] == 2
        assert processor["milepost_event_to_queryable_seconds_count"] == 2
        assert processor["milepost_event_to_notification_seconds_count"] == 1
        assert processor["milepost_fold_seconds_count"] == processor["milepost_batch_records_count"]
        assert processor["milepost_rebalances_total"] >= 1
        assert processor["milepost_event_log_months_ahead"] == 2
        assert [processor[f'milepost_lag_records{{partition="{one}"}}'] for one in range(4)] == [
            0
        ] * 4
        webhooks = await metrics(watched.webhooks)
        assert webhooks['milepost_webhook_attempts_total{outcome="delivered"}'] == 1
        url = watched.api.ready["api"]
        await http.get(f"{url}/nowhere")
        await http.request("PROPFIND", f"{url}/healthz")
        api = await metrics(url)
        posted = 'method="POST",route="/v1/tenants/{tenant}/executions",status="202"'
        assert api[f"milepost_http_requests_total{{{posted}}}"] == 1
        assert api['milepost_http_requests_total{method="GET",route="none",status="404"}'] == 1
        assert (
            api['milepost_http_requests_total{method="other",route="/healthz",status="405"}'] == 1
        )
        assert api["milepost_database_connections_max"] == 16
        assert 0 <= api['milepost_projection_age_seconds{partition="0"}'] < 60


async def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(CannotListen, match=f"port {port} on 127.0.0.1, which is taken"):
            async with listening(Settings(metrics_port=port), REGISTRY, Checks()):
                pass


def test_what_was_not_looked_at_is_not_ready() -> None:
    checks = Checks("broker", "database")
    checks.report("broker", None)
    assert checks.document() == {
        "ready": False,
        "checks": {
            "broker": {"ok": True, "detail": None},
            "database": {"ok": False, "detail": "not known yet"},
        },
    }
    checks.report("database", None)
    assert checks.document()["ready"]
