"""The batch hand-over: one partition's fetched batch becomes one Faust message.

Faust spends 70 to 120 microseconds on every message; presenting a whole fetch as one message removes
that. It means overriding names that Faust does not publish, so its version is pinned exactly and
`tests/processor/test_faust_contract.py` covers every one of them.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from operator import attrgetter
from typing import Any, Final, NamedTuple, Protocol, cast

from aiokafka import AIOKafkaConsumer
from faust import Schema
from faust.tables.recovery import RebalanceAgain
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Transport
from faust.types import TP
from faust.types.tuples import ConsumerMessage

from milepost.processor import lenient
from milepost.schemas.binding import Record

# Seconds to wait for records while some partition is full: it may have room again at any moment.
_FULL_POLL: Final = 0.05
_size_of: Final = attrgetter("serialized_value_size")


class Fetched(NamedTuple):
    """The records of one partition from where their fetch began up to, without, `next_offset`.

    There may be none: what ends a transaction takes an offset too. `size` is theirs in bytes.
    """

    topic: str
    partition: int
    from_offset: int
    next_offset: int
    records: Sequence[Record]
    size: int


class Positions(Protocol):
    """Who says where to read: called on every assignment, before anything is fetched."""

    async def assigned(self, partitions: frozenset[TP]) -> Mapping[TP, int] | None:
        """Take the partitions over; the offset to read each from. Left out: not to be read.

        None when another rebalance began meanwhile.
        """


class BatchThread(AIOKafkaConsumerThread):
    """Reads committed records only; an offset outside the broker's range is an error, not a guess."""

    def _create_worker_consumer(self, transport: Transport) -> AIOKafkaConsumer:
        lenient.install()
        consumer = super()._create_worker_consumer(transport)
        consumer._isolation_level = "read_committed"
        return consumer

    async def _fetch_records(  # type: ignore[override]
        self, consumer: AIOKafkaConsumer, active_partitions: set[TP], *args: Any, **kwargs: Any
    ) -> Mapping[TP, tuple[Sequence[Any], int]]:
        """Records, and where the next fetch begins: past what ends transactions and was aborted."""
        fetched = await super()._fetch_records(consumer, active_partitions, *args, **kwargs)
        assignment = consumer._subscription.subscription.assignment
        if assignment is None or not assignment.active:
            return {}
        return {
            tp: (fetched.get(tp, ()), state.position)
            for tp in active_partitions
            if (state := assignment.state_value(tp)) is not None and state.has_valid_position
        }


class BatchConsumer(Consumer):
    """Hands over whole batches and seeks to the positions that Postgres holds."""

    def _new_consumer_thread(self) -> BatchThread:
        return BatchThread(self, loop=self.loop, beacon=self.beacon)

    def on_init(self) -> None:
        self._next: dict[TP, int] = {}

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Ask where to read; partitions without an answer stay paused."""
        assignment = frozenset(self.assignment())
        transport = cast(BatchTransport, self.transport)
        # Whatever becomes of this: nothing is read as if it followed what was read before.
        self._next = {}
        self._buffered_partitions.clear()
        offsets = await transport.positions.assigned(assignment)
        if offsets is None:
            # Faust then waits for the next assignment, and reads nothing before that.
            raise RebalanceAgain
        self.pause_partitions(assignment - offsets.keys())
        if offsets:
            await self.seek_wait(offsets)
        self._next = {**offsets}
        return offsets

    async def getmany(  # Faust names the parameters
        self,
        timeout: float,  # noqa: ASYNC109
    ) -> AsyncIterator[tuple[TP, ConsumerMessage]]:
        """One message per partition with records; nothing once the flow stops or a rebalance began."""
        if not self.flow_active:
            await self.wait(self.can_resume_flow.wait())
        generation = self.app.consumer_generation_id
        active = self._get_active_partitions()
        if not active:
            await self.sleep(_FULL_POLL)
            return
        if self._buffered_partitions:
            timeout = _FULL_POLL
        fetched = await self._getmany(active_partitions=set(active), timeout=timeout)
        for tp, (records, position) in (fetched or {}).items():
            if not self.flow_active or self.app.consumer_generation_id != generation:
                return  # what is dropped here is read again: the next assignment seeks
            if position > self._next.get(tp, position):
                yield tp, self._message(tp, records, position, generation)

    def _message(
        self, tp: TP, records: Sequence[Any], position: int, generation: int
    ) -> ConsumerMessage:
        size = sum(map(_size_of, records))
        batch = Fetched(tp.topic, tp.partition, self._next[tp], position, records, size)
        self._next[tp] = position
        return ConsumerMessage(
            tp.topic,
            tp.partition,
            position - 1,
            0.0,
            1,
            [],
            None,
            # Not bytes: only `PassOn` ever looks at it.
            cast(bytes, batch),
            None,
            tp=tp,
            # A message without it is dropped in silence.
            generation_id=generation,
        )


class BatchTransport(Transport):
    """Faust's aiokafka driver with the consumer above."""

    Consumer = BatchConsumer
    positions: Positions


class PassOn(Schema[None, Fetched]):
    """Decodes nothing: the value is a `Fetched` already."""

    def loads_key(self, app: Any, message: Any, **_: Any) -> None:
        """Batches have no key."""

    def loads_value(self, app: Any, message: Any, **_: Any) -> Fetched:
        """The batch as `getmany` made it."""
        batch: Fetched = message.value
        return batch
