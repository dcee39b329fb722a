"""Rebuilding the projections beside the rate at which the same processor folded the same backlog."""

import asyncio
import json
import os
import resource
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaProducer

from benchmarks.backlog import EVENTS, fold, histories, load
from benchmarks.stack import Stack, processor
from milepost.settings import Settings
from stack import environment

LIVE_EVENTS = 1_000  # a second, while the projections are rebuilt


async def measure(stack: Stack, executions: int, runs: int) -> dict[str, list[float]]:
    """Records per second with the processor idle and at work, each with its ratio to the backlog's rate."""
    figures: dict[str, list[float]] = {
        "rebuild: thousand records/s, processor idle": [],
        "rebuild: ratio to the backlog": [],
        "rebuild: thousand records/s, processor at 1,000 events/s": [],
        "rebuild: ratio to the backlog, processor at 1,000 events/s": [],
        "rebuild: CPU, microseconds a record": [],
        "rebuild: CPU of the processor for the backlog, microseconds an event": [],
        "rebuild: verify, thousand records/s": [],
        "rebuild: processors wait for the switch, ms, at 1,000 events/s": [],
        "rebuild: readers wait for the switch, ms, at 1,000 events/s": [],
    }
    columns = list(figures.values())
    for _ in range(runs):
        settings = await stack.fresh()
        await load(settings, executions)
        backlog, cpu, _ = await fold(settings, executions * EVENTS)
        verified = await _rebuild(settings, "--verify")
        async with processor(settings):
            before = _cpu()
            idle = await _rebuild(settings)
            ours = (_cpu() - before) / idle["records"] * 1e6
            async with _publishing(settings):
                busy = await _rebuild(settings)
        rates = [one["records"] / one["seconds"] for one in (idle, busy, verified)]
        row = (
            rates[0] / 1e3, rates[0] / backlog, rates[1] / 1e3, rates[1] / backlog, ours, cpu,
            rates[2] / 1e3,
            busy["processors_waited"] * 1e3, busy["readers_waited"] * 1e3,
        )  # fmt: skip
        for column, value in zip(columns, row, strict=True):
            column.append(value)
    return figures


async def _rebuild(settings: Settings, *options: str) -> dict[str, Any]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "milepost.cli", "projections", "rebuild", "-o", "json", *options),
        env=os.environ | environment(settings),
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    result: dict[str, Any] = json.loads(out)
    assert result["equal"], result
    return result


def _cpu() -> float:
    """Seconds of the children that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


@asynccontextmanager
async def _publishing(settings: Settings) -> AsyncIterator[None]:
    """Publish new executions at `LIVE_EVENTS` a second."""
    producer = AIOKafkaProducer(
        bootstrap_servers=settings.kafka_bootstrap_servers, acks="all", linger_ms=20
    )
    await producer.start()
    publishing = asyncio.create_task(_publish(producer, settings.topics.events))
    try:
        yield
    finally:
        publishing.cancel()
        await asyncio.gather(publishing, return_exceptions=True)
        await producer.stop()


async def _publish(producer: AIOKafkaProducer, topic: str) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    for number, (key, value, headers) in enumerate(histories("live")):
        await producer.send(topic, key=key, value=value, headers=headers)
        ahead = began + number / LIVE_EVENTS - loop.time()
        if ahead > 0.01:
            await asyncio.sleep(ahead)
