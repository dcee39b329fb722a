"""What a reader is fed with: the records that are its to handle, and what became of them."""

import asyncio
import logging
import math
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, Generic, NamedTuple, TypeVar

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError
from pydantic import ValidationError

from milepost.client import broker
from milepost.client.dead_letters import DeadLetters, attempts_before
from milepost.client.errors import BrokerRefused
from milepost.client.progress import Progress
from milepost.schemas.notifications import Command, Completion

Item = TypeVar("Item", bound=Completion | Command)

# Ids of so many items that are over are kept, to know repeats by.
REMEMBERED: Final = 10_000
_POLL_MS: Final = 1_000
_MANY: Final = 500
_logger: Final = logging.getLogger(__name__)


class Unreadable(Exception):
    """A record is not what its topic carries. Its text names the field, and quotes nothing."""

    def __init__(self, error: ValidationError) -> None:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "value"
        super().__init__(f"{field}: {first['msg']}")


class Delivery(NamedTuple, Generic[Item]):
    """One item to handle. `progress` is that of the time between two rebalances in which it came."""

    progress: Progress
    partition: TopicPartition
    record: Any
    item: Item


class Feed(Generic[Item]):
    """The items of some topics, and the offsets, counts and dead letters that come of them.

    Args:
        servers: where Kafka is.
        group: the consumer group, or None: nothing is committed then.
        dead_letters: where a group puts aside what it cannot do.
        attempts: how often a body may fail before its record is put aside.
        parse: gives the item of a value, or raises ValidationError.
        wanted: says whether an item passes the filters.
        timeout: seconds that each call to the broker may take.
    """

    def __init__(
        self,
        servers: str,
        *,
        group: str | None,
        dead_letters: DeadLetters | None,
        attempts: int,
        parse: Callable[[bytes], Item],
        wanted: Callable[[Item], bool],
        timeout: float,
    ) -> None:
        self.attempts = attempts
        self.ends: dict[TopicPartition, int] = {}
        self._servers = servers
        self._group = group
        self._dead_letters = dead_letters
        self._parse = parse
        self._wanted = wanted
        self._timeout = timeout
        self._consumer: AIOKafkaConsumer | None = None
        self._fetched: deque[Any] = deque()
        self._progress = Progress()
        self._committing = asyncio.Lock()
        self._finished: OrderedDict[str, None] = OrderedDict()

    def open(self, consumer: AIOKafkaConsumer) -> None:
        """Read from `consumer`, which is started."""
        self.revoke()
        self._consumer = consumer

    async def close(self) -> None:
        """Leave the group and the broker."""
        try:
            if self._consumer is not None:
                # A rebalance that is under way still commits what was done before it.
                await broker.stop(self._consumer)
        finally:
            self._consumer = None
            if self._dead_letters is not None:
                await self._dead_letters.close()

    async def take(self) -> Delivery[Item] | None:
        """The next item that passes the filters; None when none came for a second.

        Safe to cancel: what was not returned is returned by the next call.
        """
        while self._fetched or await self._fetch():
            record, progress = self._fetched[0], self._progress
            partition = TopicPartition(record.topic, record.partition)
            if not progress.knows(partition):
                progress.recall(partition, await self._committed_text(partition))
                continue
            item = await self._read(record)
            if self.lost(progress):
                continue
            self._fetched.popleft()
            progress.begin(partition, record.offset)
            if item is not None and self._wanted(item):
                return Delivery(progress, partition, record, item)
            progress.finish(partition, record.offset)
        return None

    def put_back(self, delivery: Delivery[Item]) -> None:
        """Let the next call of `take` return this one, unless it is lost."""
        if not self.lost(delivery.progress):
            self._fetched.appendleft(delivery.record)

    def lost(self, progress: Progress) -> bool:
        """Whether a rebalance has begun since: what came before it is no longer to be started."""
        return progress is not self._progress

    def repeated(self, delivery: Delivery[Item]) -> bool:
        """Whether an item with its id was over before."""
        return delivery.item.id in self._finished

    def finish(self, delivery: Delivery[Item]) -> None:
        """The item is over."""
        delivery.progress.finish(delivery.partition, delivery.record.offset)
        self._finished[delivery.item.id] = None
        if len(self._finished) > REMEMBERED:
            self._finished.popitem(last=False)

    async def fail(self, delivery: Delivery[Item], error: BaseException) -> int | None:
        """A body failed: which attempt that was; None when it was the last, and all is over.

        The record is then among the dead letters.
        """
        count = delivery.progress.fail(delivery.partition, delivery.record.offset)
        name = type(delivery.item).__name__.lower()
        _logger.warning(
            "attempt %d of %d at %s %s of execution %s failed: %.300r",
            count, self.attempts, name, delivery.item.id, delivery.item.execution_id, error,
        )  # fmt: skip
        if count < self.attempts or self._dead_letters is None:
            return count
        await self._dead_letters.put(
            delivery.record, error, count + attempts_before(delivery.record.headers)
        )
        _logger.error("%s %s was put aside", name, delivery.item.id, exc_info=error)
        self.finish(delivery)
        return None

    async def commit(self, progress: Progress | None = None) -> None:
        """Commit what is new. Raises BrokerUnavailable or BrokerRefused; nothing is forgotten then."""
        if self._group is None or self._consumer is None:
            return
        progress = progress or self._progress
        async with self._committing:
            places = progress.places()
            if not places:
                return
            async with broker.understood(self._servers, self._timeout):
                try:
                    await self._consumer.commit(places)
                except (CommitFailedError, IllegalStateError):
                    # Another member has the partition now, and will get these items again.
                    _logger.warning("group %s was rebalanced before a commit", self._group)
                    return
            progress.committed(places)

    def revoke(self) -> Progress:
        """The partitions are about to be taken away: drop what was fetched, and begin anew.

        Returns the progress until now, to be committed while that is still possible.
        """
        self._fetched.clear()
        progress, self._progress = self._progress, Progress()
        return progress

    async def exhausted(self) -> bool:
        """Whether everything below `ends` was taken. Never, where there is no end."""
        if not self.ends or self._fetched or self._consumer is None:
            return False
        partitions = self._consumer.assignment()
        try:
            return all([await self._consumer.position(one) >= self.ends[one] for one in partitions])
        except IllegalStateError:  # a rebalance
            return False

    async def _fetch(self) -> bool:
        assert self._consumer is not None
        try:
            batches = await self._consumer.getmany(timeout_ms=_POLL_MS, max_records=_MANY)
        except KafkaError as error:
            raise BrokerRefused(self._servers, str(error)) from None
        for partition, records in batches.items():
            end = self.ends.get(partition, math.inf)
            self._fetched.extend(one for one in records if one.offset < end)
        return bool(self._fetched)

    async def _committed_text(self, partition: TopicPartition) -> str:
        if self._group is None:
            return ""
        assert self._consumer is not None
        async with broker.understood(self._servers, self._timeout):
            # `committed` would give the offset alone.
            found = await self._consumer._coordinator.fetch_committed_offsets([partition])
        return found[partition].metadata or "" if partition in found else ""

    async def _read(self, record: Any) -> Item | None:
        """Its item. Foreign records must not stop the reader for good: None for such a one."""
        try:
            return self._parse(record.value)
        except ValidationError as invalid:
            error = Unreadable(invalid)
        done = "skipped"
        if self._dead_letters is not None:
            await self._dead_letters.put(record, error, attempts_before(record.headers))
            done = "put aside"
        _logger.warning(
            "%s a record of %s, partition %d, offset %d: %s",
            done, record.topic, record.partition, record.offset, error,
        )  # fmt: skip
        return None


class Rebalances(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka is not typed
    """Calls `let_go` before the partitions of this member are given out anew."""

    def __init__(self, let_go: Callable[[], Awaitable[None]]) -> None:
        self._let_go = let_go

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        await self._let_go()

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        pass
