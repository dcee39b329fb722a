"""Handling many items at once: each execution's in order, each retried, all within bounds."""

import asyncio
import inspect
import random
import signal
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final, Generic

from milepost.client.feed import Delivery, Feed, Item
from milepost.client.lanes import Lanes

# Before the second attempt; doubled before each further one.
_FIRST_WAIT_SECONDS: Final = 0.5
_LONGEST_WAIT_SECONDS: Final = 30.0
_WAITING: Final = 200


class Processing(Generic[Item]):
    """Calls `handle` with every item of `feed`, up to `concurrency` at a time.

    `grace` is how many seconds bodies in progress get to end when this stops or the group is
    rebalanced; those that need longer are cancelled, and their items come again.
    """

    def __init__(
        self,
        feed: Feed[Item],
        handle: Callable[[Item], Awaitable[object]],
        concurrency: int,
        grace: float,
    ) -> None:
        self._feed = feed
        self._handle = handle
        self._concurrency = concurrency
        self._grace = grace
        self._at_once = asyncio.Semaphore(concurrency)
        self._lanes = self._new_lanes()
        self._news = asyncio.Event()
        self._ending = asyncio.Event()
        self._error: BaseException | None = None

    def stop(self) -> None:
        """Begin nothing more, and let `run` return when what is in progress has ended."""
        self._ending.set()
        self._lanes.closing.set()

    async def run(self) -> None:
        """Work until `stop`, a cancellation, or the end of what there is to read.

        Raises what the broker refuses, without waiting for bodies then.
        """
        working = [
            asyncio.ensure_future(one)
            for one in (self._hand_out(), self._commit_news(), self._ending.wait())
        ]
        try:
            ended, _ = await asyncio.wait(working, return_when=asyncio.FIRST_COMPLETED)
            errors = [error for one in ended if (error := one.exception())]
            self._error = self._error or next(iter(errors), None)
        finally:
            for task in working:
                task.cancel()
            await asyncio.gather(*working, return_exceptions=True)
            await self._lanes.close(0 if self._error else self._grace)
            if self._error is None:
                await self._feed.commit()
        if self._error is not None:
            raise self._error

    async def let_go(self) -> None:
        """The group is rebalanced: end what is in progress, commit it, and begin anew."""
        progress = self._feed.revoke()
        lanes, self._lanes = self._lanes, self._new_lanes()
        await lanes.close(self._grace)
        await self._feed.commit(progress)

    async def _hand_out(self) -> None:
        while True:
            delivery = await self._feed.take()
            if delivery is not None:
                await self._lanes.add(delivery)
            elif await self._feed.exhausted():
                await self._lanes.idle()
                if await self._feed.exhausted():  # and no rebalance has brought some of it back
                    return

    async def _commit_news(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            await self._feed.commit()

    def _new_lanes(self) -> Lanes:
        # Those that wait behind others of their execution must not keep the rest from working.
        return Lanes(self._work, self._concurrency + _WAITING)

    async def _work(self, delivery: Delivery[Item], closing: asyncio.Event) -> None:
        try:
            await self._attempts(delivery, closing)
        except Exception as error:  # noqa: BLE001 - `run` raises it
            self._error = self._error or error
            self.stop()

    async def _attempts(self, delivery: Delivery[Item], closing: asyncio.Event) -> None:
        """Until the item is over, one way or another."""
        while True:
            async with self._at_once:
                if closing.is_set():
                    return
                repeated = self._feed.repeated(delivery)
                error = None if repeated else await self._attempt(delivery.item)
            failed: int | None = None
            if error is None:
                self._feed.finish(delivery)
            else:
                failed = await self._feed.fail(delivery, error)
            self._news.set()
            if failed is None:
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(_wait_seconds(failed)):
                    await closing.wait()

    async def _attempt(self, item: Item) -> BaseException | None:
        """What the body raised."""
        try:
            body = self._handle(item)
            if inspect.isawaitable(body):
                await body
                return None
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            return error  # something within the body was cancelled, not the body
        except Exception as error:  # noqa: BLE001 - it counts as a failed attempt
            return error
        raise TypeError(
            f"{self._handle!r} is not an async function; milepost.client.sync takes blocking ones"
        )


@contextmanager
def on_sigterm(stop: Callable[[], object]) -> Iterator[None]:
    """Call `stop` at SIGTERM, unless the program itself has said what is to happen then."""
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    ):
        yield
        return
    signal.signal(signal.SIGTERM, lambda *_: stop())
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _wait_seconds(failed: int) -> float:
    """How long to wait after so many failed attempts: at random, so that not all come at once."""
    longest = min(_LONGEST_WAIT_SECONDS, _FIRST_WAIT_SECONDS * 2.0 ** (failed - 1))
    return random.uniform(longest / 2, longest)
