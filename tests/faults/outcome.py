"""What goes out, heard by a subscriber that was there all the time."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, TopicPartition

from milepost.schemas.values import TERMINAL
from milepost.settings import Settings


class Outcomes:
    """How often each completion (state, tenant, execution) and command (and event id) was heard."""

    def __init__(self, settings: Settings) -> None:
        self.completions: Counter[tuple[str, str, str]] = Counter()
        self.commands: Counter[tuple[str, str, str, str]] = Counter()
        self.completed: set[tuple[str, str]] = set()  # tenant and execution
        self.commanded: set[tuple[str, str]] = set()
        self._topic = settings.topics.commands
        self._came = asyncio.Condition()

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds of what was heard."""
        async with self._came:
            await self._came.wait_for(holds)

    async def run(self, consumer: AIOKafkaConsumer) -> None:
        """Listen until cancelled, whatever the broker goes through."""
        while True:
            batches = await consumer.getmany(timeout_ms=1_000)
            async with self._came:
                for records in batches.values():
                    for record in records:
                        self._hear(record.topic, json.loads(record.value))
                self._came.notify_all()

    def _hear(self, topic: str, said: dict[str, str]) -> None:
        name = said["tenant"], said["execution_id"]
        if topic == self._topic:
            self.commands[said["command"], said["event_id"], *name] += 1
            self.commanded.add(name)
        else:
            self.completed.add(name)
            self.completions[said["state"], *name] += 1


@asynccontextmanager
async def heard(settings: Settings) -> AsyncIterator[Outcomes]:
    """Hear everything from the beginning on."""
    names = settings.topics
    outgoing = [names.commands, *(names.completions(state) for state in sorted(TERMINAL))]
    outcomes = Outcomes(settings)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka_bootstrap_servers,
        isolation_level="read_committed",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    await consumer.start()
    consumer.assign([TopicPartition(topic, number) for topic in outgoing for number in range(4)])
    hearing = asyncio.create_task(outcomes.run(consumer))
    try:
        yield outcomes
    finally:
        hearing.cancel()
        await asyncio.wait([hearing])
        await consumer.stop()
