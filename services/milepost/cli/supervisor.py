"""Keeping the parts of a stack alive."""

import asyncio
import time
from collections.abc import Callable
from typing import Final, Protocol

Say = Callable[[str], None]

_FIRST_DELAY: Final = 0.2
_LONGEST_DELAY: Final = 10.0
# After running this long, a part that dies is no longer one that fails at every start.
_STEADY_SECONDS: Final = 30.0


class Part(Protocol):
    """A server of the stack in a process of its own; the embedded servers have this shape."""

    name: str

    async def start(self) -> None:
        """Start it and return when it serves. Raises with a sentence when it cannot."""

    async def wait_died(self) -> int:
        """Return its exit status when it has ended."""

    async def stop(self) -> None:
        """End it in bounded time; nothing when it does not run."""


async def keep_running(part: Part, say: Say) -> None:
    """Start `part` again whenever it ends, after a delay that grows while that does not help."""
    delay = _FIRST_DELAY
    while True:
        began = time.monotonic()
        status = await part.wait_died()
        if time.monotonic() - began > _STEADY_SECONDS:
            delay = _FIRST_DELAY
        say(f"{part.name} ended with status {status}; starting it again")
        while True:
            await asyncio.sleep(delay)
            delay = min(2 * delay, _LONGEST_DELAY)
            try:
                await part.start()
            except Exception as error:  # noqa: BLE001 - whatever it is, trying again is the answer
                say(f"{error}\ntrying again in {delay:g} s")
            else:
                say(f"{part.name} is back")
                break
