"""Folds one partition: all that waits is one batch, one batch is one transaction."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

import structlog

from milepost.processor.relay import Relay
from milepost.processor.transport import Fetched
from milepost.projections.batch import decode_all
from milepost.projections.store import Batch, Position, Store, Written

CATCH_UP: Final = 1_000  # records read at once from the log to be relayed

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
        self._arrived = asyncio.Event()
        self._handed = position.next_offset
        self.idle = asyncio.Event()
        self.idle.set()

    async def catch_up(self, relayed: int) -> None:
        """Relay what earlier owners folded but did not relay: from offset `relayed` on."""
        await self._hand_over_stored(relayed, self.next_offset)

    def put(self, fetched: Fetched) -> None:
        """Queue a batch; pauses fetching when enough waits."""
        self._waiting.append(fetched)
        self._records += len(fetched.records)
        if self._records >= self._limit:
            self._pause()
        self.idle.clear()
        self._arrived.set()

    async def run(self) -> None:
        """Fold until cancelled. Raises Fenced, OffsetGap or what the store could not get over."""
        while True:
            await self._arrived.wait()
            batch = self._take()
            written = await self._store.write(batch, self._epoch, self._relay.confirmed)
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
        records, end = list(first.records), first.next_offset
        while self._waiting and len(records) + len(self._waiting[0].records) <= self._limit:
            following = self._waiting.popleft()
            records += following.records
            end = following.next_offset
        self._records -= len(records)
        if self._records < self._limit:
            self._resume()
        if not self._waiting:
            self._arrived.clear()
        return Batch(self.topic, self.number, first.from_offset, end, decode_all(records))

    async def _hand_over(self, written: Written) -> None:
        if written.from_offset > self._handed:
            # A commit of unknown outcome had succeeded: what it emitted is in the log.
            await self._hand_over_stored(self._handed, written.from_offset)
        await self._relay.hand_over(written.outgoing, written.next_offset)
        self._handed = written.next_offset

    async def _hand_over_stored(self, start: int, end: int) -> None:
        while True:
            rows = await self._store.emitted_between(self.topic, self.number, start, end, CATCH_UP)
            for offset, outgoing in rows:
                await self._relay.hand_over(outgoing, offset + 1)
                start = offset + 1
            if len(rows) < CATCH_UP:
                break
        await self._relay.hand_over((), end)
