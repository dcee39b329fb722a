"""What tests wait for instead of sleeping: positions announced by Postgres, records on a topic."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import ConsumerRecord

from milepost.settings import Settings

DEADLINE = 45.0


class Positions:
    """Follows the notifications of committed batches."""

    def __init__(self, connection: asyncpg.Connection, settings: Settings) -> None:
        self._connection = connection
        self._settings = settings
        self._announced = asyncio.Event()

    async def reach(self, least: int, within: float = DEADLINE) -> int:
        """Wait until at least so many records are folded; return how many are."""
        async with asyncio.timeout(within):
            while True:
                self._announced.clear()
                folded: int = await self._connection.fetchval(
                    "SELECT coalesce(sum(next_offset), 0)::bigint FROM positions WHERE topic = $1",
                    self._settings.topics.events,
                )
                if folded >= least:
                    return folded
                await self._announced.wait()

    async def reach_end(self) -> int:
        """Wait until everything on the events topic is folded; return how many records that is."""
        return await self.reach(await end_of(self._settings, self._settings.topics.events))

    def announce(self, *_: object) -> None:
        """Called for each notification."""
        self._announced.set()


@asynccontextmanager
async def following(settings: Settings) -> AsyncIterator[Positions]:
    """Follow the positions of this module's processor."""
    connection = await asyncpg.connect(settings.dsn)
    positions = Positions(connection, settings)
    try:
        await connection.add_listener("milepost_positions", positions.announce)
        yield positions
    finally:
        await connection.close()


async def end_of(settings: Settings, topic: str) -> int:
    """The sum of a topic's end offsets."""
    async with _reader(settings) as consumer:
        partitions = [TopicPartition(topic, number) for number in range(4)]
        return sum((await consumer.end_offsets(partitions)).values())


async def read(
    settings: Settings, *topics: str, until: Callable[[list[ConsumerRecord]], bool]
) -> list[ConsumerRecord]:
    """Committed records of topics from their beginning, until `until` holds for them."""
    records: list[ConsumerRecord] = []
    async with _reader(settings) as consumer, asyncio.timeout(DEADLINE):
        partitions = [TopicPartition(topic, number) for topic in topics for number in range(4)]
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        while not until(records):
            fetched: dict[Any, list[ConsumerRecord]] = await consumer.getmany(timeout_ms=200)
            for batch in fetched.values():
                records += batch
    return records


async def read_all(settings: Settings, *topics: str) -> list[ConsumerRecord]:
    """Everything committed on topics up to their present end, transaction markers passed over."""
    async with _reader(settings) as consumer, asyncio.timeout(DEADLINE):
        partitions = [TopicPartition(topic, number) for topic in topics for number in range(4)]
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        ends = await consumer.end_offsets(partitions)
        records: list[ConsumerRecord] = []
        while any([await consumer.position(tp) < end for tp, end in ends.items()]):
            for batch in (await consumer.getmany(timeout_ms=200)).values():
                records += batch
    return records


@asynccontextmanager
async def _reader(settings: Settings) -> AsyncIterator[AIOKafkaConsumer]:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka_bootstrap_servers,
        isolation_level="read_committed",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()
