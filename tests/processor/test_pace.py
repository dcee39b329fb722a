"""Small transactions are spaced out, so that what comes in quick succession goes together."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiokafka import TopicPartition

from milepost.processor import partition, relay
from milepost.processor.partition import Partition
from milepost.processor.relay import Relay
from milepost.processor.transport import Fetched
from milepost.projections.outgoing import Outgoing
from milepost.projections.store import Batch, Position, Written
from milepost.schemas.binding import _Draft
from signals import DEADLINE

PACE = 0.2
COMPLETION = Outgoing("topic", None, [], b"{}")


class Done(asyncio.Queue[tuple[int, ...]]):
    """What was done, one item for each transaction."""

    async def next(self) -> tuple[int, ...]:
        async with asyncio.timeout(DEADLINE):
            return await self.get()


@asynccontextmanager
async def running(work: Any) -> AsyncIterator[None]:
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_records_that_come_while_a_partition_waits_are_one_batch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(partition, "PACE", PACE)
    done = Done()

    class Stored:
        async def write(self, batch: Batch, *_: object) -> Written:
            done.put_nowait(tuple(one.record.offset for one in batch.decoded))
            return Written(batch.from_offset, batch.next_offset, len(batch.decoded), [])

        async def emitted_between(self, *_: object) -> list[object]:
            return []

    nothing: Any = None
    sending = Relay(nothing, "group", nothing, nothing, nothing)
    stored: Any = Stored()
    folding = Partition(
        "topic", 0, Position(1, 0, None), stored, sending, 4,
        pause=lambda: None, resume=lambda: None,
    )  # fmt: skip

    def put(offset: int) -> None:
        record = _Draft(b"key", b"", [], offset=offset)
        folding.put(Fetched("topic", 0, offset, offset + 1, [record], 0))

    async with running(folding.run(0)):
        put(0)
        assert await done.next() == (0,)
        began = asyncio.get_running_loop().time()
        for offset in (1, 2, 3):
            put(offset)
            await asyncio.sleep(0)
        assert await done.next() == (1, 2, 3)
        assert asyncio.get_running_loop().time() - began > PACE / 2
        # As much as goes into one transaction waits for nothing.
        began = asyncio.get_running_loop().time()
        for offset in (4, 5, 6, 7):
            put(offset)
        assert await done.next() == (4, 5, 6, 7)
        assert asyncio.get_running_loop().time() - began < PACE / 2


async def test_completions_that_come_while_the_relay_waits_are_one_transaction(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(relay, "PACE", PACE)
    done = Done()

    class Sending(Relay):
        async def start(self) -> int | None:
            self._producer = None
            return None

        async def _transact(self, outgoing: Sequence[Outgoing], next_offset: int) -> None:
            done.put_nowait((len(outgoing), next_offset))

    nothing: Any = None
    sending = Sending(TopicPartition("topic", 0), "group", nothing, nothing, nothing)
    async with running(sending.run()):
        await sending.hand_over([COMPLETION], 1)
        assert await done.next() == (1, 1)
        for offset in (2, 3):
            await sending.hand_over([COMPLETION], offset)
            await asyncio.sleep(0)
        assert await done.next() == (2, 3)
