"""Looks at the events topic beside the consumer group: where it begins and ends, and single records."""

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from faust.types import TP

from milepost.client import broker
from milepost.processor import lenient
from milepost.schemas.binding import Record
from milepost.settings import Settings

# A connection that nothing comes from any more is given up only when a request on it times out; one
# that is cancelled before leaves it, dead, to the next. Shorter than whoever asks is willing to wait.
REQUEST: Final = 8.0
# Seconds that closing may take, over a connection that may be dead.
CLOSE: Final = 1.0


class Reader:
    """Sees committed records only, as the fold does.

    A connection of its own: what the fetcher of the group believes may be old, and its thread busy.
    """

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer

    async def beginnings(self, partitions: Collection[TP]) -> Mapping[TP, int]:
        """The first offset that the broker still has of each. Raises KafkaError."""
        return _by_tp(await self._consumer.beginning_offsets(_names(partitions)))

    async def ends(self, partitions: Collection[TP]) -> Mapping[TP, int]:
        """The offset after the last that can be read of each. Raises KafkaError."""
        return _by_tp(await self._consumer.end_offsets(_names(partitions)))

    async def records(self, offsets: Mapping[TP, int]) -> Mapping[TP, Record]:
        """The records at these offsets, each below its partition's end; left out: there is none."""
        wanted = {TopicPartition(*tp): offset for tp, offset in offsets.items()}
        found: dict[TP, Record] = {}
        if wanted:
            self._consumer.assign(list(wanted))
            for name, offset in wanted.items():
                self._consumer.seek(name, offset)
        while wanted:
            for name, records in (await self._consumer.getmany(*wanted, timeout_ms=500)).items():
                if records[0].offset == wanted[name]:
                    found[TP(*name)] = records[0]
            wanted = {
                name: offset
                for name, offset in wanted.items()
                if await self._consumer.position(name) <= offset
            }
        self._consumer.unsubscribe()
        return found


@asynccontextmanager
async def connected(settings: Settings) -> AsyncIterator[Reader]:
    """A reader. Raises as `topics.connected`."""
    lenient.install()
    consumer = AIOKafkaConsumer(
        **broker.connection(settings),
        isolation_level="read_committed",
        enable_auto_commit=False,
        auto_offset_reset="none",
        request_timeout_ms=int(REQUEST * 1_000),
    )
    try:
        async with broker.connecting(settings):
            await consumer.start()
        yield Reader(consumer)
    finally:
        await broker.stop(consumer, CLOSE)


def _names(partitions: Collection[TP]) -> list[TopicPartition]:
    return [TopicPartition(*tp) for tp in partitions]


def _by_tp(offsets: Mapping[TopicPartition, int]) -> Mapping[TP, int]:
    return {TP(*name): offset for name, offset in offsets.items()}
