"""What the tests of subscribers share: publishing completions, and looking at what a group left."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any
from uuid import uuid4

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from log import completion
from milepost.schemas.notifications import Completion
from milepost.schemas.values import State
from milepost.settings import Settings

WITHIN = 20


async def publish(settings: Settings, *items: Completion) -> None:
    """Put completions on their topics, in order, with a header that must survive."""
    producer = AIOKafkaProducer(bootstrap_servers=settings.kafka_bootstrap_servers)
    await producer.start()
    try:
        for item in items:
            await producer.send_and_wait(
                settings.topics.completions(item.state),
                item.model_dump_json().encode(),
                key=item.execution_id.encode(),
                headers=[("ce_id", item.id.encode())],
            )
    finally:
        await producer.stop()


def of_one_execution(count: int) -> list[Completion]:
    """Completions that share an execution, so a partition and an order."""
    execution_id = str(uuid4())
    return [completion(execution_id=execution_id) for _ in range(count)]


async def committed(settings: Settings, group: str, topic: str | None = None) -> dict[int, int]:
    """What the group has committed on the topic of failures, by partition."""
    topic = topic or settings.topics.completions(State.FAILED)
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.kafka_bootstrap_servers, group_id=group)
    await consumer.start()
    try:
        count = len(await consumer._client._wait_on_metadata(topic))
        partitions = [TopicPartition(topic, number) for number in range(count)]
        consumer.assign(partitions)
        found = {one.partition: await consumer.committed(one) for one in partitions}
        return {partition: offset for partition, offset in found.items() if offset is not None}
    finally:
        await consumer.stop()


def place(records: Iterable[Any], item: Completion) -> tuple[int, int]:
    """Partition and offset of an item's first record among those of its topic."""
    return next((r.partition, r.offset) for r in records if item.id.encode() in r.value)


class Handler:
    """Notes what it is called with; `until` waits for what it noted."""

    def __init__(self, body: Callable[[Completion], Awaitable[None]] | None = None) -> None:
        self.seen: list[str] = []
        self._body = body
        self._news = asyncio.Condition()

    async def __call__(self, item: Completion) -> None:
        async with self._news:
            self.seen.append(item.id)
            self._news.notify_all()
        if self._body is not None:
            await self._body(item)

    async def until(self, *items: Completion, times: int = 1) -> None:
        """Wait until each was seen at least so many times."""
        async with asyncio.timeout(WITHIN), self._news:
            await self._news.wait_for(
                lambda: all(self.seen.count(item.id) >= times for item in items)
            )


async def ended(*tasks: asyncio.Task[None]) -> None:
    """Cancel tasks and wait for them."""
    for task in tasks:
        task.cancel()
    async with asyncio.timeout(WITHIN):
        await asyncio.wait(tasks)
