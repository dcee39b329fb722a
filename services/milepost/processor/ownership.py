"""Takes partitions over when Kafka assigns them and gives them up when it revokes them.

On assignment, in this order: raise the epoch under the lock (fences the predecessor's writes),
initialise the transactional producer (ends the predecessor's transaction), read the group's offset and
the position, relay what lies between, consume.
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Any, Final

import stamina
import structlog
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupCoordinatorNotAvailableError, KafkaError
from faust.types import TP

from milepost.client import broker
from milepost.processor import metrics
from milepost.processor.agreement import disagreements, known_relayed, relay_unknown
from milepost.processor.partition import Partition
from milepost.processor.reader import Reader
from milepost.processor.relay import Relay
from milepost.processor.transport import BatchConsumer, Fetched
from milepost.projections.store import Fenced, Position, Store
from milepost.schemas.topics import MAX_OUTGOING_BYTES
from milepost.settings import Settings

# Seconds that a partition may take to finish what it has begun when it is revoked.
FINISH: Final = 2.0
# Seconds that taking over may take. Faust gives up after 90, in silence and for good.
TAKE_OVER: Final = 60.0

_log: Final = structlog.get_logger(__name__)


class _Owned:
    """A partition with the tasks that work for it."""

    def __init__(self, partition: Partition, relay: Relay) -> None:
        self.partition = partition
        self.relay = relay
        self.fenced = False
        self.tasks: list[asyncio.Task[None]] = []

    async def give_up(self) -> None:
        """Finish the transaction in flight if that is quick, then stop."""
        if not self.fenced:
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
        reader: Reader,
        crash: Callable[[BaseException], Any],
    ) -> None:
        self._settings = settings
        self._store = store
        self._admin = admin
        self._reader = reader
        self._crash = crash
        self._owned: dict[TP, _Owned] = {}
        self._taking_over: asyncio.Task[Mapping[TP, int]] | None = None
        self.paused: frozenset[TP] = frozenset()
        self.consumer: BatchConsumer | None = None
        self.on_assigned: Callable[[list[int]], None] = lambda _: None

    async def assigned(self, partitions: frozenset[TP]) -> Mapping[TP, int] | None:
        """Take these partitions over; the offset from which to read each.

        None when they were revoked meanwhile.
        """
        await self.revoked()
        taking_over = self._taking_over = asyncio.create_task(self._take_over_all(partitions))
        try:
            async with asyncio.timeout(TAKE_OVER):
                await asyncio.wait([taking_over])
        except TimeoutError:
            late = TimeoutError(f"partitions not taken over within {TAKE_OVER:.0f} s")
            await self._crash(late)
            raise late from None
        finally:
            taking_over.cancel()  # where Faust ends this: another assignment has come
        if taking_over.cancelled():
            return None
        if error := taking_over.exception():
            _log.error("taking_over_failed", error=repr(error))
            await self._crash(error)
            raise error
        offsets = taking_over.result()
        _log.info("partitions_assigned", offsets={tp.partition: at for tp, at in offsets.items()})
        metrics.REBALANCES.inc()
        self.on_assigned([tp.partition for tp in offsets])
        return offsets

    async def revoked(self, *_: Any, **__: Any) -> None:
        """Give all partitions up: rebalances are eager, what stays ours is assigned again."""
        if self._taking_over is not None:
            # Else it would fence the next owner, or own what is nobody's business here.
            self._taking_over.cancel()
            await asyncio.wait([self._taking_over])
        owned, self._owned = self._owned, {}
        self.paused = frozenset()
        await asyncio.gather(*(item.give_up() for item in owned.values()))

    async def left_out(self, *told: Any, **_: Any) -> None:
        """Told of every assignment: where it is of nothing, others have all there is."""
        _app, assigned = told
        if not assigned:
            _log.info("partitions_assigned", offsets={})
            self.on_assigned([])

    def put(self, fetched: Fetched) -> None:
        """Queue a batch for its partition; one of a partition that is gone is read again by its owner."""
        item = self._owned.get(TP(fetched.topic, fetched.partition))
        if item is not None and not item.fenced:
            item.partition.put(fetched)

    def progress(self) -> Mapping[TP, int]:
        """The next offset to fold of each owned partition."""
        return {
            tp: item.partition.next_offset for tp, item in self._owned.items() if not item.fenced
        }

    def relayed(self) -> Mapping[TP, int]:
        """Up to where what they caused is known to be sent out."""
        return {
            tp: item.relay.confirmed
            for tp, item in self._owned.items()
            if item.relay.confirmed is not None
        }

    async def _take_over_all(self, partitions: frozenset[TP]) -> Mapping[TP, int]:
        if not partitions:
            return {}
        beginnings = await self._reader.beginnings(partitions)
        positions = dict(
            zip(
                partitions,
                await asyncio.gather(*(self._acquire(tp, beginnings[tp]) for tp in partitions)),
                strict=True,
            )
        )
        problems = await self._problems(positions, beginnings)
        taken = await asyncio.gather(
            *(
                self._take_over(tp, position, beginnings[tp], problems.get(tp))
                for tp, position in positions.items()
            )
        )
        self.paused = frozenset(
            tp for tp, is_taken in zip(positions, taken, strict=True) if not is_taken
        )
        return {tp: at.next_offset for tp, at in positions.items() if tp not in self.paused}

    async def _acquire(self, tp: TP, beginning: int) -> Position:
        return await self._store.acquire(tp.topic, tp.partition, beginning)

    async def _problems(
        self, positions: Mapping[TP, Position], beginnings: Mapping[TP, int]
    ) -> dict[TP, str]:
        """Where the broker's records are not those that were folded."""
        offsets = {tp: position.next_offset for tp, position in positions.items()}
        found = await disagreements(self._reader, self._store.last_folded, offsets, beginnings)
        return {tp: str(disagreement) for tp, disagreement in found.items()}

    async def _take_over(
        self, tp: TP, position: Position, beginning: int, problem: str | None
    ) -> bool:
        """Whether it is to be read: a partition with a problem waits for people."""
        if problem is None:
            relay = self._relay(tp, position.epoch)
            # First of all owned, so that it is given up whatever happens.
            item = self._owned[tp] = _Owned(self._partition(tp, position, relay), relay)
            group_offset = await self._started(relay)
            relayed = known_relayed(position.next_offset, position.relayed, group_offset, beginning)
            if relayed is not None:
                item.tasks = [
                    self._watched(relay.run(), item),
                    self._watched(item.partition.run(relayed), item),
                ]
                return True
            problem = str(relay_unknown(tp, position.next_offset))
            await self._owned.pop(tp).relay.close()
        _log.error("partition_paused", problem=problem)
        await self._store.report_problem(tp.topic, tp.partition, problem)
        return False

    @staticmethod
    async def _started(relay: Relay) -> int | None:
        async for attempt in stamina.retry_context(
            on=KafkaError, attempts=None, timeout=TAKE_OVER, wait_initial=0.1, wait_max=2.0
        ):
            with attempt:
                return await relay.start()
        raise AssertionError("unreachable: the retries end by returning or raising")

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
                **broker.connection(self._settings),
                transactional_id=f"{group}.{tp.topic}.{tp.partition}",
                transaction_timeout_ms=10_000,
                request_timeout_ms=10_000,
                max_request_size=MAX_OUTGOING_BYTES,
                max_batch_size=262_144,
            )

        async def group_offset() -> int | None:
            offsets = await self._admin.list_consumer_group_offsets(group, partitions=[source])
            if source not in offsets:
                # How the client shows an error of the whole group: its coordinator is not there yet.
                raise GroupCoordinatorNotAvailableError(group)
            offset = offsets[source].offset
            return None if offset < 0 else offset

        async def check_owner() -> None:
            await self._store.check_owner(tp.topic, tp.partition, epoch)

        return Relay(source, group, new_producer, group_offset, check_owner)

    def _watched(self, work: Any, item: _Owned) -> asyncio.Task[None]:
        number = item.partition.number

        async def watch() -> None:
            try:
                await work
            except Fenced as fenced:
                # Somebody else owns it: the rebalance that says so is on its way.
                _log.warning("fenced", partition=number, reason=str(fenced))
                item.fenced = True
            except Exception as error:  # noqa: BLE001 - whatever it is ends the worker
                _log.error("partition_failed", partition=number, error=repr(error))
                await self._crash(error)

        return asyncio.create_task(watch(), name=f"partition-{number}")
