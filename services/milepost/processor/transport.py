"""The batch hand-over: one partition's fetched batch becomes one Faust message.

Faust spends 70 to 120 microseconds on every message; presenting a whole fetch as one message removes
that. It means overriding names that Faust does not publish, so its version is pinned exactly and
`tests/processor/test_faust_contract.py` covers every one of them.
"""

import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from operator import attrgetter
from typing import Any, Final, NamedTuple, Protocol, cast

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import NoOffsetForPartitionError
from faust import Schema
from faust.tables.recovery import RebalanceAgain
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Transport
from faust.types import TP
from faust.types.tuples import ConsumerMessage

from milepost.client import broker
from milepost.processor import lenient, unattended
from milepost.schemas.binding import Record

# Seconds to wait for records while some partition is full: it may have room again at any moment.
_FULL_POLL: Final = 0.05
# Seconds that leaving the group may take.
LEAVE: Final = 2.0
# What Faust says through a class of ours is still its own affair.
FAUST: Final = logging.getLogger("faust")
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


class _Read(NamedTuple):
    """What one call brought of a partition: records, past them what was aborted or ends transactions."""

    begin: int
    end: int
    records: Sequence[Any]


class Positions(Protocol):
    """Who says where to read: called on every assignment, before anything is fetched."""

    async def assigned(self, partitions: frozenset[TP]) -> Mapping[TP, int] | None:
        """Take the partitions over; the offset to read each from. Left out: not to be read.

        None when another rebalance began meanwhile.
        """


class BatchThread(AIOKafkaConsumerThread):
    """Reads committed records only; an offset outside the broker's range is an error, not a guess."""

    logger = FAUST

    def _create_worker_consumer(self, transport: Transport) -> AIOKafkaConsumer:
        lenient.install()
        self.thread_loop.set_exception_handler(unattended.report)
        consumer = super()._create_worker_consumer(transport)
        consumer._isolation_level = "read_committed"
        return consumer

    async def on_thread_stop(self) -> None:
        """Leave the group, in bounded time: aiokafka may wait for ever, or fail half-way."""
        await super(AIOKafkaConsumerThread, self).on_thread_stop()
        if self._consumer is not None:
            await broker.stop(self._consumer, LEAVE)

    def on_crash(self, *_: Any, **__: Any) -> None:
        """Print nothing: the app crashes of it, and says why."""

    def _stopped_set(self) -> None:
        with suppress(RuntimeError):  # one that has crashed has closed its loop
            super()._stopped_set()

    async def _fetch_records(  # type: ignore[override]
        self, consumer: AIOKafkaConsumer, active_partitions: set[TP], *args: Any, **kwargs: Any
    ) -> Mapping[TP, _Read]:
        """What can be read at once, from where the consumer expects it on.

        A fetch that waits during a rebalance may end after it, when nobody wants what it brings any
        more: where the next one begins must not depend on it. It may even hear that the group has no
        offset of what was assigned just now, and is not sought yet.
        """
        subscription = consumer._subscription.subscription
        assignment = subscription and subscription.assignment
        if assignment is None or not self.consumer.flow_active:
            return {}
        expected = cast(BatchConsumer, self.consumer).expected
        begins = {tp: expected[tp] for tp in active_partitions if tp in expected}
        for tp, begin in begins.items():
            state = assignment.state_value(tp)
            if state is not None and not (state.has_valid_position and state.position == begin):
                consumer.seek(tp, begin)
        try:
            fetched = await super()._fetch_records(consumer, active_partitions, *args, **kwargs)
        except NoOffsetForPartitionError:
            return {}  # we always seek
        if not assignment.active:
            return {}
        return {
            tp: _Read(begin, state.position, fetched.get(tp, ()))
            for tp, begin in begins.items()
            if (state := assignment.state_value(tp)) is not None
        }


class BatchConsumer(Consumer):
    """Hands over whole batches and seeks to the positions that Postgres holds."""

    logger = FAUST

    def _new_consumer_thread(self) -> BatchThread:
        return BatchThread(self, loop=self.loop, beacon=self.beacon)

    def on_init(self) -> None:
        # Where the next fetch of each partition is to begin; none before that is known.
        self.expected: Mapping[TP, int] = {}

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Ask where to read; partitions without an answer stay paused."""
        assignment = frozenset(self.assignment())
        transport = cast(BatchTransport, self.transport)
        self.expected = {}
        self._buffered_partitions.clear()
        offsets = await transport.positions.assigned(assignment)
        if offsets is None:
            # Faust then waits for the next assignment, and reads nothing before that.
            raise RebalanceAgain
        self.pause_partitions(assignment - offsets.keys())
        if offsets:
            await self.seek_wait(offsets)
        self.expected = offsets
        return offsets

    async def getmany(  # Faust names the parameters
        self,
        timeout: float,  # noqa: ASYNC109
    ) -> AsyncIterator[tuple[TP, ConsumerMessage]]:
        """One message per partition with records; nothing once the flow stops."""
        if not self.flow_active:
            await self.wait(self.can_resume_flow.wait())
        active = self._get_active_partitions()
        if not active:
            await self.sleep(_FULL_POLL)
            return
        if self._buffered_partitions:
            timeout = _FULL_POLL
        fetched = await self._getmany(active_partitions=set(active), timeout=timeout)
        for tp, read in cast(Mapping[TP, _Read], fetched or {}).items():
            # What is dropped here is fetched again.
            wanted = self.flow_active and self.expected.get(tp) == read.begin
            if wanted and read.end > read.begin:
                self.expected = {**self.expected, tp: read.end}
                yield tp, self._message(tp, read)

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Nothing: for its own commits Faust would keep what lies between two messages, for ever, and
        go over all of it with every batch."""

    def _message(self, tp: TP, read: _Read) -> ConsumerMessage:
        size = sum(map(_size_of, read.records))
        batch = Fetched(tp.topic, tp.partition, read.begin, read.end, read.records, size)
        return ConsumerMessage(
            tp.topic,
            tp.partition,
            read.end - 1,
            0.0,
            1,
            [],
            None,
            # Not bytes: only `PassOn` ever looks at it.
            cast(bytes, batch),
            None,
            tp=tp,
            # A message without it is dropped in silence.
            generation_id=self.app.consumer_generation_id,
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
