"""LISTEN for as long as one likes: what was committed while nobody listened is not missed."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

import asyncpg
import structlog

# What a database raises that is away, or has been: trying again is the answer.
LOST: Final = (
    OSError,
    TimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)
RETRY_SECONDS: Final = 0.5
# A connection can be gone without a word.
_PROBE_SECONDS: Final = 10.0
_log: Final = structlog.get_logger(__name__)

Connect = Callable[[], Awaitable["asyncpg.Connection[asyncpg.Record]"]]


async def listen(connect: Connect, channel: str, wake: Callable[[], None]) -> None:
    """Call `wake` after each notification, and whenever some may have been missed; until cancelled.

    `connect` gives a connection of its own to listen on; where it is lost, another one.
    """
    while True:
        try:
            connection = await connect()
        except LOST as error:
            _log.warning("cannot_listen", channel=channel, error=repr(error))
        else:
            await _listen_on(connection, channel, wake)
        await asyncio.sleep(RETRY_SECONDS)


async def _listen_on(
    connection: "asyncpg.Connection[asyncpg.Record]", channel: str, wake: Callable[[], None]
) -> None:
    lost = asyncio.Event()
    connection.add_termination_listener(lambda *_: lost.set())
    try:
        await connection.add_listener(channel, lambda *_: wake())
        wake()
        while not lost.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(lost.wait(), _PROBE_SECONDS)
                continue
            await connection.execute("SELECT")
    except LOST as error:
        _log.warning("listening_ended", channel=channel, error=repr(error))
    finally:
        connection.terminate()
