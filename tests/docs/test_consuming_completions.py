"""The examples of `docs/how-to/consume-completions.md` do what it says, beside a real processor."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.structs import ConsumerRecord

import java
from conftest import StartService
from milepost.client import Publisher
from milepost.settings import Settings
from signals import DEADLINE, read

DOCS = Path(__file__).parents[2] / "docs"
EXAMPLES = DOCS / "examples"
STATES = ("succeeded", "failed", "cancelled")


@pytest.fixture(scope="module")
async def publisher(settings: Settings, service: StartService) -> AsyncIterator[Publisher]:
    """Publishes beside a processor."""
    await service("processor")
    async with Publisher(settings) as publisher:
        yield publisher


@pytest.fixture(params=["completions.py", "Completions.java"])
async def command(request: pytest.FixtureRequest, tmp_path: Path) -> list[str | Path]:
    """What runs the example."""
    source = EXAMPLES / request.param
    if source.suffix == ".java":
        return await java.compiled(source, tmp_path)
    return [sys.executable, source]


@asynccontextmanager
async def running(settings: Settings, *command: str | Path) -> AsyncIterator[asyncio.StreamReader]:
    """Run an example; gives its output. It gets SIGTERM at the end, and must end itself."""
    where = {
        "MILEPOST_KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers,
        "MILEPOST_TOPIC_PREFIX": settings.topic_prefix,
    }
    process = await asyncio.create_subprocess_exec(
        *command, env=os.environ | where, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(DEADLINE):
            yield process.stdout
            process.terminate()
            # Java's status says that it was asked to.
            assert await process.wait() in (0, 128 + signal.SIGTERM)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def end(publisher: Publisher, tenant: str, state: str) -> str:
    """Bring an execution to its end; returns the line that an example prints of it."""
    run = await publisher.request(tenant, "provision", key=str(uuid4()))
    match state:
        case "succeeded":
            await run.succeeded()
        case "failed":
            await run.failed("quota", "no more tasks")
        case _:
            await run.cancelled()
    return f"{tenant} {run.execution_id} {state}"


async def completion(settings: Settings, line: str) -> ConsumerRecord:
    """The record behind a line, when it is there."""
    _, execution_id, state = line.split()
    topic, key = settings.topics.completions(state), execution_id.encode()
    records = await read(settings, topic, until=lambda found: any(one.key == key for one in found))
    return next(one for one in records if one.key == key)


async def send_again(settings: Settings, record: ConsumerRecord) -> str:
    """Behind the record: one that is aborted, itself, and one that is new; returns the last's line."""
    async with AIOKafkaProducer(
        bootstrap_servers=settings.kafka_bootstrap_servers, transactional_id=str(uuid4())
    ) as producer:

        async def send(tenant: str | None) -> None:
            value, headers = record.value, list(record.headers)
            if tenant is not None:
                value = json.dumps({**json.loads(value), "tenant": tenant}).encode()
                headers = [
                    *(one for one in headers if one[0] != "ce_id"),
                    ("ce_id", tenant.encode()),
                ]
            await producer.send_and_wait(record.topic, value, key=record.key, headers=headers)

        await producer.begin_transaction()
        await send("aborted")
        await producer.abort_transaction()
        async with producer.transaction():
            await send(None)
            await send("new")
    return f"new {record.key.decode()} failed"


async def test_each_end_is_told_once_whatever_lies_on_the_topics(
    command: list[str | Path], settings: Settings, publisher: Publisher
) -> None:
    tenant, group = f"acme-{uuid4().hex[:8]}", f"group-{uuid4().hex[:8]}"
    await end(publisher, "globex", "failed")
    lines = {state: await end(publisher, tenant, state) for state in STATES}
    last = await send_again(settings, await completion(settings, lines["failed"]))
    expected = sorted([*lines.values(), last])

    async with running(settings, *command, group, tenant) as output:
        told = [(await output.readline()).decode().strip() for _ in expected]
    assert sorted(told) == expected

    # What was done is committed: a restart goes on behind it.
    next_line = await end(publisher, tenant, "failed")
    async with running(settings, *command, group, tenant) as output:
        assert (await output.readline()).decode().strip() == next_line


def test_every_example_is_shown() -> None:
    page = (DOCS / "how-to/consume-completions.md").read_text(encoding="utf-8")
    files = [path.name for path in EXAMPLES.iterdir()]
    assert files
    for name in files:
        assert f"](../examples/{name})" in page
