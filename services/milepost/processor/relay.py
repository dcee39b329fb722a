"""Sends what one partition's fold emits: the stored bytes, exactly once under `read_committed`.

Each Kafka transaction carries the records of whole hand-overs together with the group's offset of the
input partition, so the committed offset means 'folded and relayed' and ordinary lag tools show the
truth. One transaction is in flight; what comes meanwhile goes together into the next.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final, NamedTuple

import stamina
import structlog
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.producer import sender
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.structs import OffsetAndMetadata

from milepost.processor import metrics
from milepost.projections.outgoing import Outgoing

MAX_PENDING: Final = 20_000
MAX_PENDING_BYTES: Final = 33_554_432
MAX_TRANSACTION: Final = 5_000
# A transaction ends within seconds whatever its records hold.
MAX_TRANSACTION_BYTES: Final = 8_388_608
ATTEMPTS: Final = 10
# Seconds within which the group's offset follows the fold even when there is nothing to send.
IDLE_COMMIT: Final = 0.5
# A producer flushes when it stops, for which a broker that is away gives it no end.
STOP_SECONDS: Final = 3.0

# Seconds until a transaction that found the one before still ending is begun again: its markers are
# written within a few milliseconds, and aiokafka would let 20 pass each time.
MARKERS: Final = 0.002
sender.BACKOFF_OVERRIDE = MARKERS

_log: Final = structlog.get_logger(__name__)


class _Handed(NamedTuple):
    outgoing: Sequence[Outgoing]
    next_offset: int
    size: int


def size_of(outgoing: Iterable[Outgoing]) -> int:
    """The bytes of their values."""
    return sum(len(record.value or b"") for record in outgoing)


class Relay:
    """Relays one input partition.

    Args:
        source: the input partition, whose offset the group commits.
        group: the consumer group.
        new_producer: makes a transactional producer that is not started; called again after every
            transaction that did not end cleanly, because a delayed commit or abort could land on the
            next transaction of the same producer.
        group_offset: reads the group's committed offset of `source`, None if there is none.
        check_owner: raises Fenced unless the partition is still ours.
    """

    def __init__(
        self,
        source: TopicPartition,
        group: str,
        new_producer: Callable[[], AIOKafkaProducer],
        group_offset: Callable[[], Awaitable[int | None]],
        check_owner: Callable[[], Awaitable[None]],
    ) -> None:
        self._source = source
        self._group = group
        self._new_producer = new_producer
        self._group_offset = group_offset
        self._check_owner = check_owner
        self._producer: AIOKafkaProducer | None = None
        self._pending: deque[_Handed] = deque()
        self._records = 0
        self._size = 0
        self._changed = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._drained = asyncio.Event()
        self._drained.set()
        self.confirmed: int | None = None

    async def start(self) -> int | None:
        """End the predecessor's transaction; the group's offset afterwards, None if there is none."""
        await self.close()
        producer = self._new_producer()
        try:
            await producer.start()
        except BaseException:
            await producer.stop()
            raise
        self._producer = producer
        return await self._group_offset()

    async def hand_over(self, outgoing: Sequence[Outgoing], next_offset: int) -> None:
        """Take what the records below `next_offset` emitted; waits while too much is pending."""
        await self._room.wait()
        handed = _Handed(outgoing, next_offset, size_of(outgoing))
        self._pending.append(handed)
        self._records += len(outgoing)
        self._size += handed.size
        if self._records >= MAX_PENDING or self._size >= MAX_PENDING_BYTES:
            self._room.clear()
        self._drained.clear()
        self._changed.set()

    async def run(self) -> None:
        """Relay until cancelled. Raises Fenced, or what went wrong `ATTEMPTS` times in a row."""
        while True:
            await self._changed.wait()
            if not any(handed.outgoing for handed in self._pending):
                await self._more_or_idle()
            async for attempt in stamina.retry_context(
                on=KafkaError, attempts=ATTEMPTS, timeout=None, wait_initial=0.05, wait_max=5.0
            ):
                with attempt:
                    await self._relay_pending()

    async def flush(self) -> None:
        """Wait until nothing is pending."""
        await self._drained.wait()

    async def close(self) -> None:
        """Stop the producer; an open transaction is aborted by the next owner."""
        producer, self._producer = self._producer, None
        if producer is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STOP_SECONDS):
                    await producer.stop()

    async def _more_or_idle(self) -> None:
        # Offsets alone are not worth a transaction each.
        deadline = time.monotonic() + IDLE_COMMIT
        while not any(handed.outgoing for handed in self._pending):
            self._changed.clear()
            try:
                async with asyncio.timeout(deadline - time.monotonic()):
                    await self._changed.wait()
            except TimeoutError:
                return

    async def _relay_pending(self) -> None:
        try:
            if self._producer is None:
                await self._recover()
            while self._pending:
                taken = self._take()
                outgoing = [record for handed in taken for record in handed.outgoing]
                started = time.perf_counter()
                await self._transact(outgoing, taken[-1].next_offset)
                metrics.relayed(outgoing, time.perf_counter() - started, time.time())
                self._confirm(taken[-1].next_offset)
            self._changed.clear()
            self._drained.set()
        except KafkaError as error:
            _log.warning("relay_failed", partition=self._source.partition, error=repr(error))
            await self.close()
            await self._check_owner()
            raise

    async def _recover(self) -> None:
        """With a new producer: what became of the transaction whose end is not known?"""
        committed = await self.start()
        if committed is not None:
            self._confirm(committed)

    def _take(self) -> list[_Handed]:
        taken: list[_Handed] = []
        records = size = 0
        for handed in self._pending:
            records += len(handed.outgoing)
            size += handed.size
            if taken and (records > MAX_TRANSACTION or size > MAX_TRANSACTION_BYTES):
                break
            taken.append(handed)
        return taken

    async def _transact(self, outgoing: Sequence[Outgoing], next_offset: int) -> None:
        producer = self._producer
        assert producer is not None, "started or recovered before"
        await producer.begin_transaction()
        # Records first: offsets sent before them are lost (aiokafka issue 1004).
        sent = await _send(producer, outgoing, self._source.partition)
        await asyncio.gather(*sent)
        await producer.send_offsets_to_transaction(
            {self._source: OffsetAndMetadata(next_offset, "")}, self._group
        )
        await producer.commit_transaction()

    def _confirm(self, next_offset: int) -> None:
        # Transactions carry whole hand-overs, so the committed offset is the end of one.
        while self._pending and self._pending[0].next_offset <= next_offset:
            handed = self._pending.popleft()
            self._records -= len(handed.outgoing)
            self._size -= handed.size
        self.confirmed = max(next_offset, self.confirmed or 0)
        if self._records < MAX_PENDING and self._size < MAX_PENDING_BYTES:
            self._room.set()


async def _send(
    producer: AIOKafkaProducer, outgoing: Sequence[Outgoing], source_partition: int
) -> list[asyncio.Future[object]]:
    """Send in batches built here: aiokafka's `send` costs several times as much a record.

    A record goes to the partition with the number of its source: all of one execution's records stay
    in order, and topics with as many partitions as the events topic are partitioned alike.
    """
    sent: list[asyncio.Future[object]] = []
    builders: dict[str, BatchBuilder] = {}
    now = int(time.time() * 1_000)
    for topic, key, headers, value in outgoing:
        for _ in range(2):
            builder = builders.get(topic) or builders.setdefault(topic, producer.create_batch())
            if builder.append(key=key, value=value, timestamp=now, headers=headers):
                break
            # Full: send it and begin the next one.
            sent.append(await _send_batch(producer, builders.pop(topic), topic, source_partition))
        else:
            raise AssertionError("an empty batch takes any record")
    for topic, builder in builders.items():
        sent.append(await _send_batch(producer, builder, topic, source_partition))
    return sent


async def _send_batch(
    producer: AIOKafkaProducer, builder: BatchBuilder, topic: str, source_partition: int
) -> asyncio.Future[object]:
    partitions = sorted(await producer.partitions_for(topic))
    partition = partitions[source_partition % len(partitions)]
    future: asyncio.Future[object] = await producer.send_batch(builder, topic, partition=partition)
    return future
