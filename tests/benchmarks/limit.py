"""The limit: one connection that writes the rows of a backlog, folded beforehand, from memory."""

import time
from collections.abc import Iterator, Sequence
from typing import Self

from benchmarks.backlog import EVENTS
from milepost.projections import batch, store
from milepost.projections.batch import Folded, decode_all
from milepost.schemas.binding import Record
from milepost.settings import Settings
from signals import read_all


class Limit:
    """What one processor would write of a backlog, ready to be written any number of times."""

    def __init__(self, batches: list[Folded], records: int) -> None:
        self._batches = batches
        self._records = records

    @classmethod
    async def of(cls, loaded: Settings) -> Self:
        """Read what is on the events topic and fold it."""
        records = await read_all(loaded, loaded.topics.events)
        batches = [
            batch.fold(decode_all(part), {}, loaded.topics)
            for part in _batches(records, loaded.batch_records)
        ]
        return cls(batches, len(records))

    async def rate(self, empty: Settings) -> float:
        """Write it; events/s."""
        pool = await store.connect(empty.dsn, size=1)
        began = time.perf_counter()
        for folded in self._batches:
            async with pool.acquire() as connection, connection.transaction():
                await store.write_rows(connection, "limit", 0, folded)
        elapsed = time.perf_counter() - began
        await pool.close()
        return self._records / elapsed


def _batches(records: Sequence[Record], size: int) -> Iterator[list[Record]]:
    partitions: dict[int, list[Record]] = {}
    for record in records:
        partitions.setdefault(record.partition, []).append(record)
    for partition in partitions.values():
        # Whole executions stay together, so that nothing has to be read back.
        for start in range(0, len(partition), size // EVENTS * EVENTS):
            yield partition[start : start + size // EVENTS * EVENTS]
