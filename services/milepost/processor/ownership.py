"""Takes partitions over when Kafka assigns them and gives them up when it revokes them.

On assignment, in this order: raise the epoch under the lock (fences the predecessor's writes),
initialise the transactional producer (ends the predecessor's transaction), read the group's offset and
the position, relay what lies between, consume.
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Any, Final

import structlog
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from faust.types import TP

from milepost.processor.partition import Partition
from milepost.processor.relay import Relay
from milepost.processor.transport import BatchConsumer, Fetched
from milepost.projections.store import Fenced, Position, Store
from milepost.schemas.topics import MAX_OUTGOING_BYTES
from milepost.settings import Settings

# Seconds that a partition may take to finish what it has begun when it is revoked.
FINISH: Final = 2.0

_log: Final = structlog.get_logger(__name__)


class RelayOffsetUnknown(Exception):
    """Neither Kafka nor Postgres knows what was relayed although something was folded."""


class _Owned:
    """A partition with the tasks that work for it."""

    def __init__(self, partition: Partition, relay: Relay) -> None:
        self.partition = partition
        self.relay = relay
        self.tasks: list[asyncio.Task[None]] = []

    async def give_up(self) -> None:
        """Finish the transaction in flight if that is quick, then stop."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FINISH):
                await self.partition.idle.wait()
                await self.relay.flush()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.relay.close()


class Ownership:
    """The partitions of the events topic that this worker owns.

    Args:
        crash: ends the worker with an error; its supervisor starts another.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        admin: AIOKafkaAdminClient,
        crash: Callable[[BaseException], Any],
    ) -> None:
        self._settings = settings
        self._store = store
        self._admin = admin
        self._crash = crash
        self._owned: dict[TP, _Owned] = {}
        self.consumer: BatchConsumer | None = None
        self.on_assigned: Callable[[list[int]], None] = lambda _: None

    async def assigned(self, partitions: frozenset[TP]) -> Mapping[TP, int]:
        """Take these partitions over; the offset from which to read each."""
        await self.revoked()
        assert self.consumer is not None, "wired before the app starts"
        beginnings = await self.consumer.earliest_offsets(*partitions) if partitions else {}
        ends = await self.consumer.highwaters(*partitions) if partitions else {}
        owned = await asyncio.gather(
            *(self._take_over(tp, beginnings[tp], ends[tp]) for tp in sorted(partitions))
        )
        offsets = {
            TP(item.partition.topic, item.partition.number): item.partition.next_offset
            for item in owned
            if item is not None
        }
        _log.info("partitions_assigned", offsets={tp.partition: at for tp, at in offsets.items()})
        self.on_assigned([tp.partition for tp in offsets])
        return offsets

    async def revoked(self, *_: Any, **__: Any) -> None:
        """Give all partitions up: rebalances are eager, what stays ours is assigned again."""
        owned, self._owned = self._owned, {}
        await asyncio.gather(*(item.give_up() for item in owned.values()))

    def put(self, fetched: Fetched) -> None:
        """Queue a batch for its partition; one of a partition that is gone is read again by its owner."""
        item = self._owned.get(TP(fetched.topic, fetched.partition))
        if item is not None:
            item.partition.put(fetched)

    def progress(self) -> Mapping[TP, int]:
        """The next offset to fold of each owned partition."""
        return {tp: item.partition.next_offset for tp, item in self._owned.items()}

    async def _take_over(self, tp: TP, beginning: int, end: int) -> _Owned | None:
        position = await self._store.acquire(tp.topic, tp.partition, beginning)
        problem = _out_of_range(tp, position, beginning, end)
        if problem:
            _log.error("partition_paused", problem=problem)
            await self._store.report_problem(tp.topic, tp.partition, problem)
            return None
        relay = self._relay(tp, position.epoch)
        relayed = _relayed(tp, position, await relay.start(), beginning)
        item = _Owned(self._partition(tp, position, relay), relay)
        self._owned[tp] = item
        item.tasks.append(self._watched(relay.run(), tp))
        await item.partition.catch_up(relayed)
        item.tasks.append(self._watched(item.partition.run(), tp))
        return item

    def _partition(self, tp: TP, position: Position, relay: Relay) -> Partition:
        assert self.consumer is not None, "wired before the app starts"
        consumer = self.consumer
        return Partition(
            tp.topic,
            tp.partition,
            position,
            self._store,
            relay,
            self._settings.batch_records,
            pause=lambda: consumer.on_buffer_full(tp),
            resume=lambda: consumer.on_buffer_drop(tp),
        )

    def _relay(self, tp: TP, epoch: int) -> Relay:
        source = TopicPartition(tp.topic, tp.partition)
        group = self._settings.consumer_group

        def new_producer() -> AIOKafkaProducer:
            return AIOKafkaProducer(
                bootstrap_servers=self._settings.kafka_bootstrap_servers,
                transactional_id=f"{group}.{tp.topic}.{tp.partition}",
                transaction_timeout_ms=10_000,
                max_request_size=MAX_OUTGOING_BYTES,
                max_batch_size=262_144,
            )

        async def group_offset() -> int | None:
            offsets = await self._admin.list_consumer_group_offsets(group, partitions=[source])
            offset = offsets[source].offset
            return None if offset < 0 else offset

        async def check_owner() -> None:
            await self._store.check_owner(tp.topic, tp.partition, epoch)

        return Relay(source, group, new_producer, group_offset, check_owner)

    def _watched(self, work: Any, tp: TP) -> asyncio.Task[None]:
        async def watch() -> None:
            try:
                await work
            except Fenced as fenced:
                # Somebody else owns it: the rebalance that says so is on its way.
                _log.warning("fenced", partition=tp.partition, reason=str(fenced))
                self._owned.pop(tp, None)
            except Exception as error:  # noqa: BLE001 - whatever it is ends the worker
                _log.error("partition_failed", partition=tp.partition, error=repr(error))
                await self._crash(error)

        return asyncio.create_task(watch(), name=f"partition-{tp.partition}")


def _relayed(tp: TP, position: Position, group_offset: int | None, beginning: int) -> int:
    """Up to where everything was relayed: never lower than what either side knows."""
    known = [offset for offset in (group_offset, position.relayed) if offset is not None]
    if known:
        return max(known)
    if position.next_offset > beginning:
        raise RelayOffsetUnknown(
            f"{tp.topic}/{tp.partition}: folded up to {position.next_offset}, but neither the group's"
            " committed offset nor positions.relayed says what was sent out. Set positions.relayed to"
            " the offset up to which completions are known to be sent."
        )
    return position.next_offset


def _out_of_range(tp: TP, position: Position, beginning: int, end: int) -> str | None:
    """What is wrong when the broker does not hold the offset that Postgres expects next."""
    if beginning <= position.next_offset <= end:
        return None
    expected = f"{tp.topic}/{tp.partition}: Postgres expects offset {position.next_offset}"
    if position.next_offset > end:
        return (
            f"{expected}, the broker ends at {end}: the topic was made anew or the broker lost records."
            " Restore the topic, or set positions.next_offset once you know what is missing."
        )
    return (
        f"{expected}, the broker begins at {beginning}: retention has passed records that were never"
        " folded, or Postgres is an older backup. Restore Postgres, or accept the loss by setting"
        f" positions.next_offset to {beginning}."
    )
