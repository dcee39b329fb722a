"""Reading what Milepost sends out: at least once, from a place that survives restarts."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from math import inf
from types import TracebackType
from typing import Generic, Self

from aiokafka import AIOKafkaConsumer

from milepost.client import broker
from milepost.client.dead_letters import DeadLetters, retry_group
from milepost.client.errors import MilepostError
from milepost.client.feed import Delivery, Feed, Item, Rebalances
from milepost.client.processing import Processing, on_sigterm
from milepost.client.start import Start, begin
from milepost.settings import Settings


class Unfinished(Exception):
    """The error of an item whose loop was left, and begun again, before its body was over."""

    def __init__(self) -> None:
        super().__init__("its loop was left before its body was over")


class Reader(ABC, Generic[Item]):
    """The records of some topics, committed under read_committed: `async for`, or `process`.

    With a `group`, an item's offset is committed when its body is over: when the next item is asked
    for, or when the `async with` block ends without an exception. A loop that is left early, by an
    exception or by `break`, has not finished its item: a new loop over the same reader begins with
    it, and after an exception out of the block the group gets it again. `start` says where a group
    begins that has committed nothing yet; that place is committed at once, so that nothing is
    missed between a first start and a restart.

    A group puts aside what it cannot do: an item whose body has failed `attempts` times (an exception
    left the block, or a new loop began with it), restarts and rebalances included, and a record that
    cannot be read. It goes to the group's dead-letter topic, `Topics.dead_letters`, with its bytes,
    key and headers, and headers that say why, how often and whence; then the group goes on. The topic
    is made on entering where it is missing. A crash between the two leaves it there twice. Counted
    are exceptions; a process that is killed, or a cancellation, is not.

    Members are alive while their event loops run: a body may take as long as it needs, as long as it
    does not block the loop for longer than `session_timeout_seconds`. When the group is rebalanced a
    body in progress gets `grace` seconds; what it does later is not committed, and its item comes
    again, here or elsewhere.

    Without a group it reads all partitions from `start`, fixed when the block is entered, and nothing
    is committed, counted or put aside; records that cannot be read are skipped with a warning.

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
        attempts: int,
        grace: float,
        dead_letters: bool = False,
    ) -> None:
        if attempts < 1:
            raise ValueError(f"attempts must be 1 or more, not {attempts}")
        self._settings = settings or Settings()
        self._servers = self._settings.kafka_bootstrap_servers
        self._sources = sorted(topics)
        self._topics = self._sources
        self._start = start
        self._timeout = timeout
        self._grace = grace
        self._again = dead_letters
        self._aside: DeadLetters | None = None
        if group is not None:
            topic = self._settings.topics.dead_letters(group)
            self._aside = DeadLetters(self._settings, topic, timeout)
            if dead_letters:
                group, self._topics, self._start = retry_group(group), [topic.name], "earliest"
        elif dead_letters:
            raise ValueError("dead letters are a group's: say which group")
        self._group = group
        self._feed = Feed(
            self._servers,
            group=group,
            dead_letters=self._aside,
            attempts=attempts,
            parse=self._parse,
            wanted=self._wanted,
            timeout=timeout,
        )
        self._processing: Processing[Item] | None = None
        self._current: Delivery[Item] | None = None
        # Whether the body of the current item has begun, whether its loop was left, and its end.
        self._handed = False
        self._left = False
        self._over = asyncio.Event()

    @abstractmethod
    def _parse(self, value: bytes) -> Item:
        """The item of a record. Raises ValidationError."""

    @abstractmethod
    def _wanted(self, item: Item) -> bool:
        """Whether it passes the filters."""

    async def __aenter__(self) -> Self:
        consumer = self._make_consumer()
        await broker.start(consumer, self._settings, self._timeout)
        try:
            await broker.require_topics(consumer._client, self._sources, self._servers)
            async with broker.understood(self._servers, self._timeout):
                if self._aside is not None:
                    await self._aside.prepare(consumer._client, like=self._sources[0])
                grouped = self._group is not None
                partitions = await begin(consumer, self._topics, self._start, group=grouped)
                if self._again:
                    self._feed.ends = await consumer.end_offsets(partitions)
                if grouped:
                    await broker.stop(consumer)
                    consumer = self._make_consumer()
                    consumer.subscribe(self._topics, listener=Rebalances(self._let_go))
                    await broker.start(consumer, self._settings, self._timeout)
        except BaseException:
            await broker.stop(consumer)
            raise
        self._feed.open(consumer)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self._finish()
                await self._feed.commit()
            elif isinstance(error, Exception):
                with suppress(MilepostError):  # the block's own error counts
                    await self._fail(error)
        finally:
            self._current = None
            await self._feed.close()

    def __aiter__(self) -> Self:
        self._left = self._handed
        return self

    async def __anext__(self) -> Item:
        if self._left:
            await self._fail(Unfinished())
        else:
            self._finish()
        while True:
            delivery = self._current
            if delivery is None:
                self._current = await self._feed.take()
                if self._current is None and await self._feed.exhausted():
                    raise StopAsyncIteration
                await self._feed.commit()
            elif self._feed.lost(delivery.progress):
                self._current = None  # it comes again, here or elsewhere
            elif self._feed.repeated(delivery):
                self._feed.finish(delivery)
                self._current = None
            else:
                self._handed = True
                self._over.clear()
                return delivery.item

    async def process(
        self, handle: Callable[[Item], Awaitable[object]], *, concurrency: int = 16
    ) -> None:
        """Call `await handle(item)` with every item, up to `concurrency` at a time, until stopped.

        Items of one execution are handled one after the other, in their order. One that raises is
        tried again after 0.5 s, 1 s, 2 s and so on, up to 30 s and each up to half less, until it
        has failed `attempts` times; then it is put aside. Of each partition only what lies before
        the first item not over is committed.

        `stop`, SIGTERM (in the main thread, where the program has no handler of its own) and a
        cancellation end it: bodies in progress get `grace` seconds and are cancelled then, what is
        over is committed, and after a cancellation CancelledError is raised. What was taken and is
        not over comes again when the group's next `async with` block begins, not within this one.
        With `dead_letters` it returns at the end of those.

        Raises BrokerUnavailable or BrokerRefused where a commit or a dead letter does not succeed,
        MilepostError without a group.
        """
        if self._group is None:
            raise MilepostError("process needs a group: give the reader one")
        if concurrency < 1:
            raise ValueError(f"concurrency must be 1 or more, not {concurrency}")
        if self._current is not None:  # of a loop that was left
            self._feed.put_back(self._current)
            self._settle()
        processing = Processing(self._feed, handle, concurrency, self._grace)
        self._processing = processing
        loop = asyncio.get_running_loop()
        try:
            with on_sigterm(lambda: loop.call_soon_threadsafe(processing.stop)):
                await processing.run()
        finally:
            self._processing = None

    def stop(self) -> None:
        """End `process` in good order; it returns then. Call it on the event loop."""
        if self._processing is not None:
            self._processing.stop()

    def _finish(self) -> None:
        """The body of the current item is over."""
        if self._current is not None and self._handed:
            self._feed.finish(self._current)
            self._settle()

    async def _fail(self, error: Exception) -> None:
        """The body of the current item ended with `error`, as far as it was begun."""
        delivery, begun = self._current, self._handed
        self._handed = self._left = False
        if delivery is not None and begun:
            lost = self._feed.lost(delivery.progress)
            if lost or await self._feed.fail(delivery, error) is None:
                self._settle()
        await self._feed.commit()

    def _settle(self) -> None:
        self._current = None
        self._handed = self._left = False
        self._over.set()

    async def _let_go(self) -> None:
        """The group is about to be rebalanced."""
        if self._processing is not None:
            await self._processing.let_go()
            return
        progress = self._feed.revoke()
        if self._handed:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._grace):
                    await self._over.wait()
        await self._feed.commit(progress)

    def _make_consumer(self) -> AIOKafkaConsumer:
        session_ms = int(self._settings.session_timeout_seconds * 1_000)
        return AIOKafkaConsumer(
            **broker.connection(self._settings),
            group_id=self._group,
            isolation_level="read_committed",
            enable_auto_commit=False,
            # Only for partitions that were added later, and for places that retention has passed.
            auto_offset_reset="earliest",
            session_timeout_ms=session_ms,
            heartbeat_interval_ms=session_ms // 3,
            # The others wait so long for a body in progress here.
            rebalance_timeout_ms=session_ms + int(self._grace * 1_000),
            # A long body says nothing about the member: its heartbeats do.
            max_poll_interval_ms=inf,
        )
