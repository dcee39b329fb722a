"""Ending in an orderly way when asked to."""

import asyncio
import signal
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

T = TypeVar("T")

STOP: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


async def until_stopped(work: Coroutine[Any, Any, T], say: Callable[[str], None]) -> T | None:
    """What `work` returns, or None where a signal asked for its end and it has come to it.

    A second signal must not cut the orderly end short: that is bounded in itself.
    """
    working = asyncio.create_task(work)

    def stop() -> None:
        if not working.cancelling():
            say("stopping")
            working.cancel()

    for number in STOP:
        asyncio.get_running_loop().add_signal_handler(number, stop)
    try:
        return await working
    except asyncio.CancelledError:
        return None
