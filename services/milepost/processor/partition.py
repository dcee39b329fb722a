"""Folds one partition: all that waits is one batch, one batch is one transaction."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final

import structlog

from milepost.processor import metrics
from milepost.processor.relay import MAX_TRANSACTION_BYTES, Relay, size_of
from milepost.processor.spans import folding
from milepost.processor.transport import Fetched
from milepost.projections.batch import decode_all
from milepost.projections.store import Batch, Position, Store, Written

# Values folded in one transaction: it must end in time, and memory is bounded whatever they hold.
MAX_BYTES: Final = 8_388_608
CATCH_UP: Final = 100  # records read at once from the log to be relayed

_log: Final = structlog.get_logger(__name__)


class Partition:
    """One owned partition, from the hand-over by Kafka to the hand-over to the relay.

    Args:
        position: what Postgres said when the partition was taken over.
        limit: most records folded in one transaction; fetching pauses while as many wait.
        pause, resume: stop and continue fetching this partition.
    """

    def __init__(
        self,
        topic: str,
        number: int,
        position: Position,
        store: Store,
        relay: Relay,
        limit: int,
        pause: Callable[[], None],
        resume: Callable[[], None],
    ) -> None:
        self.topic = topic
        self.number = number
        self.next_offset = position.next_offset
        self._epoch = position.epoch
        self._store = store
        self._relay = relay
        self._limit = limit
        self._pause = pause
        self._resume = resume
        self._waiting: deque[Fetched] = deque()
        self._records = 0
        self._size = 0
        self._arrived = asyncio.Event()
        self._handed = position.next_offset
        self.idle = asyncio.Event()
        self.idle.set()

    def put(self, fetched: Fetched) -> None:
        """Queue a batch; pauses fetching when enough waits."""
        for part in (fetched,) if fetched.size <= MAX_BYTES else _parts(fetched):
            self._waiting.append(part)
            self._records += len(part.records)
            self._size += part.size
        if self._full():
            self._pause()
        self.idle.clear()
        self._arrived.set()

    async def run(self, relayed: int) -> None:
        """Relay what earlier owners folded but did not relay, from offset `relayed` on; then fold.

        Ends when cancelled. Raises Fenced, OffsetGap or what the store could not get over.
        """
        self._handed = self._relay.confirmed = relayed
        await self._hand_over_stored(self.next_offset)
        while True:
            await self._arrived.wait()
            started = time.perf_counter()
            batch = self._take()
            decoded = time.perf_counter()
            with folding(batch):
                written = await self._store.write(batch, self._epoch, self._relay.confirmed)
            committed = time.perf_counter()
            metrics.folded(written, decoded - started, committed - decoded, time.time())
            self.next_offset = written.next_offset
            await self._hand_over(written)
            _log.debug(
                "folded", partition=self.number, records=written.records,
                next_offset=written.next_offset, emitted=len(written.outgoing),
            )  # fmt: skip
            if not self._waiting:
                self.idle.set()

    def _take(self) -> Batch:
        """Everything that waits, up to the limit."""
        first = self._waiting.popleft()
        records, end, size = list(first.records), first.next_offset, first.size
        while self._waiting:
            following = self._waiting[0]
            size += following.size
            if len(records) + len(following.records) > self._limit or size > MAX_BYTES:
                size -= following.size
                break
            records += following.records
            end = following.next_offset
            self._waiting.popleft()
        self._records -= len(records)
        self._size -= size
        if not self._full():
            self._resume()
        if not self._waiting:
            self._arrived.clear()
        return Batch(self.topic, self.number, first.from_offset, end, decode_all(records))

    def _full(self) -> bool:
        return self._records >= self._limit or self._size >= MAX_BYTES

    async def _hand_over(self, written: Written) -> None:
        follows = written.from_offset == self._handed
        if follows and size_of(written.outgoing) <= MAX_TRANSACTION_BYTES:
            await self._relay.hand_over(written.outgoing, written.next_offset)
            self._handed = written.next_offset
        else:
            # A commit of unknown outcome had succeeded, or Postgres was restored and is behind the
            # relay, or it is too much for one transaction: what is to be sent is in the log.
            await self._hand_over_stored(written.next_offset)

    async def _hand_over_stored(self, end: int) -> None:
        """What the records below `end` emitted that was not handed over, record by record."""
        if self._handed > end:
            return
        while True:
            rows = await self._store.emitted_between(
                self.topic, self.number, self._handed, end, CATCH_UP
            )
            for offset, outgoing in rows:
                await self._relay.hand_over(outgoing, offset + 1)
                self._handed = offset + 1
            if len(rows) < CATCH_UP:
                break
        await self._relay.hand_over((), end)
        self._handed = end


def _parts(fetched: Fetched) -> Iterator[Fetched]:
    """Parts of at most `MAX_BYTES`, of one record at least: what came compressed can be any size."""
    topic, number, begin, end, records, _ = fetched
    first = size = 0
    for index, record in enumerate(records):
        length = len(record.value or b"")
        if index > first and size + length > MAX_BYTES:
            part = records[first:index]
            yield Fetched(topic, number, begin, record.offset, part, size)
            begin, first, size = record.offset, index, 0
        size += length
    yield Fetched(topic, number, begin, end, records[first:], size)
