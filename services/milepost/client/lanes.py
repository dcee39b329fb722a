"""Many deliveries at once, those of one execution one after the other."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final

from milepost.client.feed import REMEMBERED, Delivery

# What ignores its cancellation is left behind after so many seconds.
_CANCEL_SECONDS: Final = 1

Work = Callable[[Delivery[Any], asyncio.Event], Awaitable[None]]


class Lanes:
    """Calls `work` with each delivery and the event `closing`, which asks it to begin nothing more.

    At most `room` deliveries are here at a time; those that wait behind one of their execution count.
    """

    def __init__(self, work: Work, room: int) -> None:
        self.closing = asyncio.Event()
        self._work = work
        self._room = room
        self._held = 0
        self._freed = asyncio.Event()
        self._queues: dict[str, deque[Delivery[Any]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def add(self, delivery: Delivery[Any]) -> None:
        """Take one more. Waits while there is no room, or too much is over that no commit may pass."""
        while self._full(delivery):
            self._freed.clear()
            await self._freed.wait()
        if self.closing.is_set():
            return
        self._held += 1
        execution = delivery.item.execution_id
        if execution in self._queues:
            self._queues[execution].append(delivery)
            return
        self._queues[execution] = deque([delivery])
        task = asyncio.create_task(self._follow(execution))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def idle(self) -> None:
        """Wait until all are over."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def close(self, grace: float) -> None:
        """Begin nothing more; what has begun gets `grace` seconds to end, then it is cancelled."""
        self.closing.set()
        self._freed.set()
        if not self._tasks:
            return
        _, late = await asyncio.wait(self._tasks, timeout=grace)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=_CANCEL_SECONDS)

    def _full(self, delivery: Delivery[Any]) -> bool:
        if self.closing.is_set():
            return False
        return self._held >= self._room or delivery.progress.held(delivery.partition) > REMEMBERED

    async def _follow(self, execution: str) -> None:
        queue = self._queues[execution]
        while queue and not self.closing.is_set():
            await self._work(queue[0], self.closing)
            queue.popleft()
            self._held -= 1
            self._freed.set()
        del self._queues[execution]
