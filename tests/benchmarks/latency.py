"""How soon an event is queryable and a completion readable, at steady rates of events."""

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import islice
from typing import Any

import asyncpg
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from benchmarks.backlog import EVENTS, histories
from benchmarks.stack import Stack, processor
from milepost.schemas.values import State
from milepost.settings import Settings

RATES = (500, 5_000)  # events a second
SECONDS = 10
# The first ones also open connections and learn where topics are.
WARM_UP = 0.2
DEADLINE = 60.0


async def measure(stack: Stack) -> dict[str, list[float]]:
    """Milliseconds from the call that publishes, at each rate: every event and every completion."""
    figures: dict[str, list[float]] = {}
    for rate in RATES:
        queryable, notified = await _at(rate, await stack.fresh())
        figures[f"latency at {rate:,} events/s: to queryable, ms"] = queryable
        figures[f"latency at {rate:,} events/s: to notification readable, ms"] = notified
    return figures


async def _at(rate: int, settings: Settings) -> tuple[list[float], list[float]]:
    count = rate * SECONDS // EVENTS * EVENTS
    clock = _Clock()
    async with (
        processor(settings),
        _positions(settings, clock),
        _completions(settings, clock),
        asyncio.timeout(SECONDS + DEADLINE),
    ):
        await _publish(settings, rate, count, clock)
        await clock.until(count, count // EVENTS)
    first, last = int(count * WARM_UP), int(count // EVENTS * WARM_UP)
    return clock.queryable[first:], clock.notified[last:]


class _Clock:
    """When each event was published, and how long it took until it was seen; in milliseconds."""

    def __init__(self) -> None:
        self.queryable: list[float] = []
        self.notified: list[float] = []
        self._news = asyncio.Event()
        self._sent: defaultdict[int, deque[tuple[int, float]]] = defaultdict(deque)
        self._folded: defaultdict[int, int] = defaultdict(int)
        self._ended: dict[bytes, float] = {}

    def ending(self, execution: bytes, at: float) -> None:
        """The last event of an execution was published."""
        self._ended[execution] = at

    def sent(self, partition: int, offset: int, at: float) -> None:
        """The broker has acknowledged what was published at `at`."""
        self._sent[partition].append((offset, at))
        self._settle(partition, at)

    def folded(self, partition: int, position: int) -> None:
        """A batch was committed."""
        self._folded[partition] = max(position, self._folded[partition])
        self._settle(partition, time.perf_counter())

    def completed(self, execution: bytes) -> None:
        """A completion could be read."""
        self.notified.append((time.perf_counter() - self._ended.pop(execution)) * 1e3)
        self._news.set()

    async def until(self, events: int, completions: int) -> None:
        """Wait until so many are seen."""
        while len(self.queryable) < events or len(self.notified) < completions:
            self._news.clear()
            await self._news.wait()

    def _settle(self, partition: int, now: float) -> None:
        sent = self._sent[partition]
        while sent and sent[0][0] < self._folded[partition]:
            self.queryable.append((max(now, time.perf_counter()) - sent.popleft()[1]) * 1e3)
        self._news.set()


async def _publish(settings: Settings, rate: int, count: int, clock: _Clock) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=settings.kafka_bootstrap_servers, acks="all")
    await producer.start()
    began = time.perf_counter()
    try:
        for number, (key, value, headers) in enumerate(islice(histories("key"), count)):
            now = time.perf_counter()
            if (number + 1) % EVENTS == 0:
                clock.ending(key, now)
            future = await producer.send(
                settings.topics.events, key=key, value=value, headers=headers
            )
            future.add_done_callback(_acknowledged(clock, now))
            ahead = began + number / rate - time.perf_counter()
            if ahead > 0:
                await asyncio.sleep(ahead)
    finally:
        await producer.stop()


def _acknowledged(clock: _Clock, at: float) -> Any:
    def told(future: Any) -> None:
        clock.sent(future.result().partition, future.result().offset, at)

    return told


@asynccontextmanager
async def _positions(settings: Settings, clock: _Clock) -> AsyncIterator[None]:
    """Tell the clock of each batch that is committed."""

    def announced(*arguments: Any) -> None:
        partition, position = arguments[3].split(":")
        clock.folded(int(partition), int(position))

    connection = await asyncpg.connect(settings.dsn)
    try:
        await connection.add_listener("milepost_positions", announced)
        yield
    finally:
        await connection.close()


@asynccontextmanager
async def _completions(settings: Settings, clock: _Clock) -> AsyncIterator[None]:
    """Tell the clock of each completion that a read_committed consumer gets."""
    consumer = AIOKafkaConsumer(
        settings.topics.completions(State.SUCCEEDED),
        bootstrap_servers=settings.kafka_bootstrap_servers,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
    )
    await consumer.start()

    async def follow() -> None:
        async for record in consumer:
            clock.completed(record.key)

    following = asyncio.create_task(follow())
    try:
        yield
    finally:
        following.cancel()
        await asyncio.wait([following])
        await consumer.stop()
