"""Reading what Milepost sends out: at least once, from a place that survives restarts."""

import logging
from abc import ABC, abstractmethod
from collections import OrderedDict, deque
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime
from types import TracebackType
from typing import Any, Final, Generic, Literal, NamedTuple, Self, TypeVar

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError
from pydantic import ValidationError

from milepost.client import broker
from milepost.client.errors import BrokerRefused, MilepostError
from milepost.schemas.notifications import Command, Completion
from milepost.settings import Settings

Start = Literal["latest", "earliest"] | datetime
Item = TypeVar("Item", Completion, Command)

_REMEMBERED: Final = 10_000
_POLL_MS: Final = 1_000
_MANY: Final = 500
_logger: Final = logging.getLogger(__name__)


class _Delivered(NamedTuple):
    partition: TopicPartition
    offset: int
    item: Any


class Reader(ABC, Generic[Item]):
    """An async iterator over the records of some topics, committed under read_committed.

    With a `group`, an item's offset is committed when its body is over: when the next item is asked
    for, or when the `async with` block ends without an exception. A loop that is left early, by an
    exception or by `break`, has not finished its item: a new loop over the same reader begins with
    it, and after an exception out of the block the group gets it again. `start` says where a group
    begins that has committed nothing yet; that place is committed at once, so that nothing is
    missed between a first start and a restart.

    Without a group it reads all partitions from `start`, fixed when the block is entered.

    Repeats (same id) of the last 10,000 finished items are dropped. Raises BrokerUnavailable,
    BrokerRefused or TopicMissing on entering; a broker that goes away later is waited for.
    """

    def __init__(
        self,
        settings: Settings | None,
        *,
        topics: Iterable[str],
        group: str | None,
        start: Start,
        timeout: float,
    ) -> None:
        self._settings = settings or Settings()
        self._servers = self._settings.kafka_bootstrap_servers
        self._topics = sorted(topics)
        self._group = group
        self._start = start
        self._timeout = timeout
        self._consumer: AIOKafkaConsumer | None = None
        self._fetched: deque[Any] = deque()
        self._current: _Delivered | None = None
        self._again = False
        self._done: dict[TopicPartition, int] = {}
        self._finished: OrderedDict[str, None] = OrderedDict()

    @abstractmethod
    def _parse(self, value: bytes) -> Item:
        """The item of a record. Raises ValidationError."""

    @abstractmethod
    def _wanted(self, item: Item) -> bool:
        """Whether it passes the filters."""

    async def __aenter__(self) -> Self:
        consumer = self._make_consumer()
        await broker.start(consumer, self._servers, self._timeout)
        try:
            await broker.require_topics(consumer._client, self._topics, self._servers)
            async with broker.understood(self._servers, self._timeout):
                await self._begin(consumer)
                if self._group is not None:
                    await broker.stop(consumer)
                    consumer = self._make_consumer()
                    consumer.subscribe(self._topics, listener=_Forget(self))
                    await broker.start(consumer, self._servers, self._timeout)
        except BaseException:
            await broker.stop(consumer)
            raise
        self._consumer = consumer
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        consumer = self._open()
        try:
            if kind is None:
                self._finish()
                await self._commit(consumer)
            elif issubclass(kind, Exception):
                with suppress(MilepostError):  # the block's own error counts
                    await self._commit(consumer)
        finally:
            self._consumer = None
            await broker.stop(consumer)

    def __aiter__(self) -> Self:
        self._again = self._current is not None
        return self

    async def __anext__(self) -> Item:
        consumer = self._open()
        if self._again and self._current is not None:
            self._again = False
            again: Item = self._current.item
            return again
        self._finish()
        while True:
            while self._fetched:
                item = self._take(self._fetched.popleft())
                if item is not None:
                    await self._commit(consumer)
                    return item
            await self._commit(consumer)
            try:
                batches = await consumer.getmany(timeout_ms=_POLL_MS, max_records=_MANY)
            except KafkaError as error:
                raise BrokerRefused(self._servers, str(error)) from None
            for records in batches.values():
                self._fetched.extend(records)

    def _take(self, record: Any) -> Item | None:
        partition = TopicPartition(record.topic, record.partition)
        try:
            item = self._parse(record.value)
        except ValidationError as error:
            # Foreign records must not stop the reader for good.
            _logger.warning(
                "skipped a record of %s, partition %d, offset %d: %s",
                record.topic, record.partition, record.offset, error,
            )  # fmt: skip
            item = None
        if item is None or item.id in self._finished or not self._wanted(item):
            self._done[partition] = record.offset + 1
            return None
        self._current = _Delivered(partition, record.offset, item)
        return item

    def _finish(self) -> None:
        """The body of the current item is over."""
        if self._current is None:
            return
        partition, offset, item = self._current
        self._done[partition] = offset + 1
        self._finished[item.id] = None
        if len(self._finished) > _REMEMBERED:
            self._finished.popitem(last=False)
        self._current = None

    async def _commit(self, consumer: AIOKafkaConsumer) -> None:
        done, self._done = self._done, {}
        if not done or self._group is None:
            return
        try:
            async with broker.understood(self._servers, self._timeout):
                try:
                    await consumer.commit(done)
                except (CommitFailedError, IllegalStateError):
                    # Another member has the partition now, and will get these items again.
                    _logger.warning("group %s was rebalanced before a commit", self._group)
        except BaseException:
            self._done = done | self._done
            raise

    async def _begin(self, consumer: AIOKafkaConsumer) -> None:
        """Go to where reading starts; for a group, commit that where it has nothing committed."""
        partitions = [
            TopicPartition(topic, partition)
            for topic in self._topics
            for partition in await consumer._client._wait_on_metadata(topic)
        ]
        consumer.assign(partitions)
        if self._group is not None:
            partitions = [one for one in partitions if await consumer.committed(one) is None]
        offsets = await self._offsets(consumer, partitions)
        if self._group is None:
            for partition, offset in offsets.items():
                consumer.seek(partition, offset)
        elif offsets:
            # It fails where the group has members: they have been here before.
            with suppress(CommitFailedError):
                await consumer.commit(offsets)

    async def _offsets(
        self, consumer: AIOKafkaConsumer, partitions: list[TopicPartition]
    ) -> dict[TopicPartition, int]:
        if not partitions:
            return {}
        if self._start == "earliest":
            earliest: dict[TopicPartition, int] = await consumer.beginning_offsets(partitions)
            return earliest
        latest: dict[TopicPartition, int] = await consumer.end_offsets(partitions)
        if self._start == "latest":
            return latest
        assert isinstance(self._start, datetime)
        since = int(self._start.timestamp() * 1_000)
        found = await consumer.offsets_for_times(dict.fromkeys(partitions, since))
        return {one: found[one].offset if found[one] else latest[one] for one in partitions}

    def _make_consumer(self) -> AIOKafkaConsumer:
        session_ms = int(self._settings.session_timeout_seconds * 1_000)
        return AIOKafkaConsumer(
            bootstrap_servers=self._servers,
            group_id=self._group,
            isolation_level="read_committed",
            enable_auto_commit=False,
            # Only for partitions that were added later, and for places that retention has passed.
            auto_offset_reset="earliest",
            session_timeout_ms=session_ms,
            heartbeat_interval_ms=session_ms // 3,
        )

    def _open(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            raise MilepostError("the reader is not open: use it in an `async with` block")
        return self._consumer

    def _forget(self) -> None:
        """Drop what was fetched: after a rebalance it comes again, here or elsewhere."""
        self._fetched.clear()
        self._done.clear()


class _Forget(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka is not typed
    def __init__(self, reader: Reader[Any]) -> None:
        self._reader = reader

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        self._reader._forget()

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        pass
