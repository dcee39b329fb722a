"""Folding from a backlog of five-event executions, everything on, beside the limit for the same rows."""

import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count, islice

import psutil
from aiokafka import AIOKafkaProducer

from benchmarks.stack import Stack, processor
from milepost.projections import batch, store
from milepost.projections.batch import Folded, decode_all
from milepost.schemas import events
from milepost.schemas.binding import Encoded, Record, encode
from milepost.schemas.identifiers import execution_id
from milepost.schemas.values import Progress, Resource
from milepost.settings import Settings
from signals import following, read_all

BEGIN = datetime(2026, 11, 1, tzinfo=UTC)
TENANTS = 100


async def measure(stack: Stack, executions: int, runs: int) -> dict[str, list[float]]:
    """Events per second of one processor and of the limit, alternated, and their ratio pair by pair."""
    figures: dict[str, list[float]] = {
        "backlog: thousand events/s, one processor": [],
        "backlog: thousand events/s, limit (same rows from memory)": [],
        "backlog: ratio to the limit": [],
        "backlog: processor CPU, microseconds an event": [],
        "backlog: processor memory, MB": [],
    }
    columns = list(figures.values())
    for _ in range(runs):
        settings = await stack.fresh()
        await load(settings, executions)
        ours, cpu, memory = await fold(settings, executions * 5)
        limit = await _limit(settings, await stack.fresh())
        row = (ours / 1e3, limit / 1e3, ours / limit, cpu, memory)
        for column, value in zip(columns, row, strict=True):
            column.append(value)
    return figures


async def load(settings: Settings, executions: int) -> None:
    """Put a backlog on the events topic."""
    producer = AIOKafkaProducer(
        bootstrap_servers=settings.kafka_bootstrap_servers, acks="all", linger_ms=20,
        max_batch_size=262_144,
    )  # fmt: skip
    await producer.start()
    for key, value, headers in islice(histories("key"), executions * 5):
        await producer.send(settings.topics.events, key=key, value=value, headers=headers)
    await producer.stop()


def histories(prefix: str) -> Iterator[Encoded]:
    """The records of one execution after the other, without end; their keys begin with `prefix`."""
    for number in count():
        yield from _history(f"tenant-{number % TENANTS}", f"{prefix}-{number}")


async def fold(
    settings: Settings, records: int, module: str = "milepost.cli"
) -> tuple[float, float, float]:
    """Events/s from owning the partitions to the last commit, CPU us an event, MB resident."""
    async with following(settings) as positions, processor(settings, module) as process:
        usage = psutil.Process(process.pid)
        before, began = sum(usage.cpu_times()[:2]), time.perf_counter()
        await positions.reach(records)
        elapsed = time.perf_counter() - began
        cpu = sum(usage.cpu_times()[:2]) - before
        return records / elapsed, cpu / records * 1e6, usage.memory_info().rss / 1e6


async def _limit(loaded: Settings, empty: Settings) -> float:
    """Events/s of one connection that writes the rows of the same backlog, folded beforehand."""
    records = await read_all(loaded, loaded.topics.events)
    batches = [_folded(batch, loaded) for batch in _batches(records, loaded.batch_records)]
    pool = await store.connect(empty.dsn, size=1)
    began = time.perf_counter()
    for folded in batches:
        async with pool.acquire() as connection, connection.transaction():
            await store.write_rows(connection, "limit", 0, folded)
    elapsed = time.perf_counter() - began
    await pool.close()
    return len(records) / elapsed


def _batches(records: Sequence[Record], size: int) -> Iterator[list[Record]]:
    partitions: dict[int, list[Record]] = {}
    for record in records:
        partitions.setdefault(record.partition, []).append(record)
    for partition in partitions.values():
        # Whole executions stay together, so that nothing has to be read back.
        for start in range(0, len(partition), size // 5 * 5):
            yield partition[start : start + size // 5 * 5]


def _folded(records: list[Record], settings: Settings) -> Folded:
    return batch.fold(decode_all(records), {}, settings.topics)


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
