"""Clients of another library that know the AsyncAPI document and nothing else of Milepost's.

`confluent_kafka` and the document read what a real processor sends, and publish what it folds.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from typing import Any
from uuid import UUID, uuid4, uuid5

import asyncpg
import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka import Message as Record

from conftest import StartService
from milepost.client import Publisher, Resource
from milepost.settings import Settings
from schemas.asyncapi_document import Document, Message, Operation
from signals import DEADLINE, following

TASK = Resource("ecs.task", "arn:aws:ecs:eu-west-1:1:task/web/1", region="eu-west-1")
STATES = ("succeeded", "failed", "cancelled")
RUNS = 3
BINARY, STRUCTURED = "application/json", "application/cloudevents+json"

document = Document()


@pytest.fixture(scope="module")
async def executions(settings: Settings, service: StartService) -> dict[str, set[str]]:
    """The ids of executions that reached each terminal state."""
    await service("processor")
    ended: dict[str, set[str]] = {state: set() for state in STATES}

    async def end(number: int, state: str) -> None:
        run = await publisher.request(
            f"tenant-{number}", "provision", provider="ecs", key=state,
            parameters={"cpu": 2}, labels={"team": "shop"},
        )  # fmt: skip
        await run.started(resources=[TASK])
        await run.progressed(percent=40, message="pulling image")
        match state:
            case "succeeded":
                await run.succeeded(resources=[TASK], outputs={"url": "https://shop.example"})
            case "failed":
                await run.failed("image_pull_failed", "no such image", last_lines=["pulling"])
            case _:
                await publisher.cancel(run.tenant, run.execution_id, reason="wrong image")
                await run.cancelled(reason="wrong image")
        ended[state].add(run.execution_id)

    async with Publisher(settings, source="/providers/ecs/eu-west-1") as publisher:
        await asyncio.gather(*(end(number, state) for number in range(RUNS) for state in STATES))
    return ended


def operation(name: str, settings: Settings) -> Operation:
    """All that is used of `settings`: where the deployment is, and what its prefix is."""
    return document.operation(name, prefix=settings.topic_prefix)


async def receive(
    operation: Operation, settings: Settings, count: int, keys: set[str] | None = None
) -> list[Record[bytes, bytes]]:
    """The first records of the operation's topic with these keys, read as the document says."""
    servers = settings.kafka_bootstrap_servers
    return await asyncio.to_thread(_receive, operation, servers, count, keys)


def _receive(
    operation: Operation, servers: str, count: int, keys: set[str] | None
) -> list[Record[bytes, bytes]]:
    assert operation.action == "receive"
    consumer = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": f"foreign-{uuid4()}",
            "auto.offset.reset": "earliest",
            **operation.settings,
        }
    )
    records: list[Record[bytes, bytes]] = []
    deadline = time.monotonic() + DEADLINE
    try:
        consumer.subscribe([operation.topic])
        while len(records) < count:
            record = consumer.poll(max(0, deadline - time.monotonic()))
            assert record is not None, f"{len(records)} of {count} records came"
            assert record.error() is None, record.error()
            if keys is None or (record.key() or b"").decode() in keys:
                records.append(record)
            consumer.commit(message=record, asynchronous=False)
    finally:
        consumer.close()
    return records


def headers(record: Record[bytes, bytes]) -> dict[str, str]:
    found: Any = record.headers() or []
    return {name: value.decode() for name, value in found}


def read(record: Record[bytes, bytes], operation: Operation) -> tuple[Message, Any]:
    """Which of the operation's messages the record is, and its payload, all of it valid."""
    told = headers(record)
    [message] = [one for one in operation.messages if one.name == told["ce_type"]]
    message.headers.validate(told)
    key, value = record.key(), record.value()
    assert isinstance(key, bytes)
    assert isinstance(value, bytes)
    message.key.validate(key.decode())
    payload = json.loads(value)
    message.payload.validate(payload)
    assert key.decode() == told["ce_subject"] == payload["execution_id"]
    return message, payload


@pytest.mark.parametrize("state", STATES)
async def test_completions_are_what_the_document_says(
    state: str, settings: Settings, executions: dict[str, set[str]]
) -> None:
    completions = operation(f"receive_{state}", settings)
    records = await receive(completions, settings, RUNS, executions[state])
    payloads = [read(record, completions)[1] for record in records]
    assert {payload["execution_id"] for payload in payloads} == executions[state]
    assert {payload["id"] for payload in payloads} == {headers(one)["ce_id"] for one in records}
    [other] = completions.messages
    assert not other.payload.is_valid({**payloads[0], "state": "running"})


async def test_commands_are_what_the_document_says(
    settings: Settings, executions: dict[str, set[str]]
) -> None:
    commands = operation("receive_commands", settings)
    records = await receive(commands, settings, 4 * RUNS, set().union(*executions.values()))
    found = [read(record, commands) for record in records]
    assert Counter(message.name for message, _ in found) == {
        "milepost.command.start.v1": 3 * RUNS,
        "milepost.command.cancel.v1": RUNS,
    }
    for message, payload in found:
        assert payload["command"] in message.name


def _execution_id(message: Message, tenant: str, operation: str, key: str) -> str:
    rule = message.tree["x-execution-id"]
    given = {"{tenant}": tenant, "{operation}": operation, "{idempotency_key}": key}
    identity = [given[one] for one in rule["with-key"]]
    # Short ASCII texts: here compact JSON is canonical.
    return str(uuid5(UUID(rule["namespace"]), json.dumps(identity, separators=(",", ":"))))


def _publish(operation: Operation, servers: str, *events: tuple[Message, str, Any]) -> None:
    """Send events (message, execution id, example changed), each checked by the document first."""
    assert operation.action == "send"
    refused: list[Any] = []
    producer = Producer({"bootstrap.servers": servers, **operation.settings})
    for message, key, example in events:
        message.headers.validate(example["headers"])
        message.payload.validate(example["payload"])
        message.key.validate(key)
        producer.produce(
            operation.topic,
            key=key,
            value=json.dumps(example["payload"]),
            headers=list(example["headers"].items()),
            on_delivery=lambda error, _: refused.append(error) if error else None,
        )
    assert producer.flush(DEADLINE) == 0
    assert not refused


@pytest.mark.parametrize("mode", [BINARY, STRUCTURED])
async def test_events_made_from_the_document_are_applied(
    mode: str, settings: Settings, executions: dict[str, set[str]]
) -> None:
    events = operation("send_events", settings)
    tenant, key = f"foreign-{uuid4().hex[:8]}", "order-9"
    messages = {one.name: one for one in events.messages if one.content_type == mode}
    requested = messages["milepost.execution.requested.v1"]
    execution_id = _execution_id(requested, tenant, "provision", key)

    def event(type_: str) -> tuple[Message, str, Any]:
        message = messages[type_]
        example = json.loads(json.dumps(message.examples[0]))
        if mode == BINARY:
            attributes, data = example["headers"], example["payload"]
            attributes |= {"ce_subject": execution_id, "ce_tenantid": tenant}
        else:
            attributes, data = example["payload"], example["payload"]["data"]
            attributes |= {"subject": execution_id, "tenantid": tenant}
        if message is requested:
            data["idempotency_key"] = key
        return message, execution_id, example

    types = [f"milepost.execution.{name}.v1" for name in ("requested", "started", "failed")]
    async with following(settings) as positions:
        await asyncio.to_thread(
            _publish, events, settings.kafka_bootstrap_servers, *map(event, types)
        )
        await positions.reach_end()
    connection = await asyncpg.connect(settings.dsn)
    try:
        rows = await connection.fetch(
            "SELECT type, disposition FROM event_log WHERE tenant = $1 ORDER BY ordinal", tenant
        )
        state = await connection.fetchval("SELECT state FROM executions WHERE tenant = $1", tenant)
    finally:
        await connection.close()
    assert [tuple(row) for row in rows] == [(type_, "applied") for type_ in types]
    assert state == "failed"


async def test_a_quarantined_record_is_what_the_document_says(
    settings: Settings, executions: dict[str, set[str]]
) -> None:
    events, quarantine = (
        operation("send_events", settings),
        operation("receive_quarantine", settings),
    )
    producer = Producer({"bootstrap.servers": settings.kafka_bootstrap_servers})
    producer.produce(events.topic, value=b"\xff\x00", headers=[("mine", b"kept")])
    await asyncio.to_thread(producer.flush, DEADLINE)
    [record] = await receive(quarantine, settings, 1)
    [message] = quarantine.messages
    told = headers(record)
    message.headers.validate(told)
    message.key.validate(record.key())
    assert (told["mine"], record.value()) == ("kept", b"\xff\x00")
    assert told["milepost-origin"].startswith(f"{events.topic}/")
