"""A backlog of five-event executions, and processors that fold it, everything on."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from itertools import count, islice
from typing import NamedTuple

from aiokafka import AIOKafkaProducer

from benchmarks.stack import processor
from milepost.schemas import events
from milepost.schemas.binding import Encoded, encode
from milepost.schemas.identifiers import execution_id
from milepost.schemas.values import Progress, Resource
from milepost.settings import Settings
from signals import following

BEGIN = datetime(2026, 11, 1, tzinfo=UTC)
TENANTS = 100
EVENTS = 5  # of each execution
DEADLINE = 180.0


async def load(settings: Settings, executions: int, *, hot: float = 0) -> None:
    """Put a backlog on the events topic; one tenant has this share of the executions."""
    producer = AIOKafkaProducer(
        bootstrap_servers=settings.kafka_bootstrap_servers, acks="all", linger_ms=20,
        max_batch_size=262_144,
    )  # fmt: skip
    await producer.start()
    for key, value, headers in islice(histories("key", hot), executions * EVENTS):
        await producer.send(settings.topics.events, key=key, value=value, headers=headers)
    await producer.stop()


def histories(prefix: str, hot: float = 0) -> Iterator[Encoded]:
    """The records of one execution after the other, without end; their keys begin with `prefix`."""
    for number in count():
        tenant = "hot" if number % TENANTS < hot * TENANTS else f"tenant-{number % TENANTS}"
        yield from _history(tenant, f"{prefix}-{number}")


class Folding(NamedTuple):
    """How a backlog was folded: events/s, CPU microseconds an event, MB resident, of all workers."""

    rate: float
    cpu: float
    memory: float


async def fold(
    settings: Settings, records: int, module: str = "milepost.cli", workers: int = 1
) -> Folding:
    """Fold it, from all workers' owning their partitions to the last commit."""
    async with following(settings) as positions, AsyncExitStack() as running:
        starting = (
            running.enter_async_context(processor(settings, module)) for _ in range(workers)
        )
        processes = await asyncio.gather(*starting)
        # With several, the first to own partitions has begun meanwhile.
        folded = await positions.reach(0) if workers > 1 else 0
        before, began = sum(one.cpu for one in processes), time.perf_counter()
        await positions.reach(records, within=DEADLINE)
        elapsed = time.perf_counter() - began
        cpu = sum(one.cpu for one in processes) - before
        memory = sum(one.process.memory_info().rss for one in processes)
        left = records - folded
        assert left, "all was folded before every worker was there: take a larger backlog"
        return Folding(left / elapsed, cpu / left * 1e6, memory / 1e6)


def _history(tenant: str, key: str) -> list[Encoded]:
    task = Resource("ecs.task", f"arn:aws:ecs:eu-west-1:123456789012:task/{tenant}/{key}")
    data = (
        events.Requested(
            occurred_at=BEGIN, operation="provision", provider="ecs", idempotency_key=key,
            parameters={"cpu": 2, "image": "registry/app:1"}, labels={"team": "storage"},
        ),
        events.Started(occurred_at=BEGIN + timedelta(seconds=1), resources=(task,)),
        events.Progressed(
            occurred_at=BEGIN + timedelta(seconds=2),
            progress=Progress(percent=30, message="pulling image"),
        ),
        events.Progressed(
            occurred_at=BEGIN + timedelta(seconds=3),
            progress=Progress(percent=60, message="starting"),
        ),
        events.Succeeded(
            occurred_at=BEGIN + timedelta(seconds=4), resources=(task,), outputs={"url": "https://web"}
        ),
    )  # fmt: skip
    identity = execution_id(tenant, "provision", key=key)
    return [
        encode(
            item, tenant=tenant, execution_id=identity, source="/providers/ecs/eu-west-1",
            reported=item.occurred_at,
        )
        for item in data
    ]  # fmt: skip
