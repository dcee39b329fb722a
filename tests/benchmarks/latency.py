"""How soon one event is queryable and notified, at a low rate."""

import asyncio
import time

import asyncpg
from aiokafka import AIOKafkaConsumer

from benchmarks.stack import Stack, processor
from milepost.client import Publisher
from milepost.schemas.values import State
from signals import following

EVENTS = 60
INTERVAL = 0.1  # seconds between events: a low rate


async def measure(stack: Stack) -> dict[str, list[float]]:
    """Milliseconds from the call that publishes to the row, and to the record under read_committed."""
    settings = await stack.fresh()
    queryable: list[float] = []
    notified: list[float] = []
    topic = settings.topics.completions(State.SUCCEEDED)
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=settings.kafka_bootstrap_servers,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
    )
    connection = await asyncpg.connect(settings.dsn)
    async with (
        processor(settings),
        following(settings) as positions,
        Publisher(settings) as publisher,
    ):
        await consumer.start()
        for number in range(EVENTS):
            run = publisher.execution("acme", f"00000000-0000-5000-8000-{number:012d}")
            began = time.perf_counter()
            await run.succeeded()
            await positions.reach(number + 1)
            row = await connection.fetchval(
                "SELECT state FROM executions WHERE execution_id = $1", run.execution_id
            )
            assert row == "succeeded"
            queryable.append((time.perf_counter() - began) * 1e3)
            await consumer.getone()
            notified.append((time.perf_counter() - began) * 1e3)
            await asyncio.sleep(INTERVAL)
        await consumer.stop()
    await connection.close()
    # The first ones also open connections and learn where topics are.
    return {
        "latency: publish to queryable, ms": queryable[5:],
        "latency: publish to notification readable, ms": notified[5:],
    }
