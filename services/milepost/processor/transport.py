"""The batch hand-over: one partition's fetched batch becomes one Faust message.

Faust spends 70 to 120 microseconds on every message; presenting a whole fetch as one message removes
that. It means overriding names that Faust does not publish, so its version is pinned exactly and
`tests/processor/test_faust_contract.py` covers every one of them.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol, cast

from aiokafka import AIOKafkaConsumer
from faust import Schema
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Transport
from faust.types import TP
from faust.types.tuples import ConsumerMessage

from milepost.schemas.binding import Record

# Seconds to wait for records while some partition is full: it may have room again at any moment.
_FULL_POLL: Final = 0.05


class Fetched(NamedTuple):
    """The records of one partition from where their fetch began up to, without, `next_offset`."""

    topic: str
    partition: int
    from_offset: int
    next_offset: int
    records: Sequence[Record]


class Positions(Protocol):
    """Who says where to read: called on every assignment, before anything is fetched."""

    async def assigned(self, partitions: frozenset[TP]) -> Mapping[TP, int]:
        """Take the partitions over; the offset to read each from. Left out: not to be read."""


class BatchThread(AIOKafkaConsumerThread):
    """Reads committed records only; an offset outside the broker's range is an error, not a guess."""

    def _create_worker_consumer(self, transport: Transport) -> AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        consumer._isolation_level = "read_committed"
        return consumer


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
        offsets = dict(await transport.positions.assigned(assignment))
        self.pause_partitions(assignment - offsets.keys())
        if offsets:
            await self.seek_wait(offsets)
        self._next = dict(offsets)
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
        for tp, records in (fetched or {}).items():
            if not self.flow_active or self.app.consumer_generation_id != generation:
                return  # what is dropped here is read again: the next assignment seeks
            if records and tp in self._next:
                yield tp, self._message(tp, records, generation)

    def _message(self, tp: TP, records: Sequence[Any], generation: int) -> ConsumerMessage:
        last = records[-1]
        batch = Fetched(tp.topic, tp.partition, self._next[tp], last.offset + 1, records)
        self._next[tp] = batch.next_offset
        return ConsumerMessage(
            tp.topic,
            tp.partition,
            last.offset,
            last.timestamp / 1_000,
            last.timestamp_type,
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
