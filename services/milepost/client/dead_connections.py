"""Connections to Kafka that are gone without a word are given up.

aiokafka closes one on which a request was not answered in time, but not for requests for metadata, and
not when whoever asked gives up first: the dead connection would be asked again and again, and whoever
waits for an answer would wait for ever. A new connection may be as dead, and then holds up the next one
for as long as a request may take.
"""

import asyncio
import time
from collections.abc import Awaitable
from typing import Any, Final

from aiokafka.conn import AIOKafkaConnection, CloseReason

# Seconds without an answer after which a connection is dead: to a request that is called off then, or
# to the first words on a new one.
SILENCE: Final = 5.0

_send: Final = AIOKafkaConnection.send
_connect: Final = AIOKafkaConnection.connect


def install() -> None:
    """For every connection of this process: aiokafka has no narrower place for it."""
    AIOKafkaConnection.send = _send_or_close
    AIOKafkaConnection.connect = _connect_soon


async def _connect_soon(connection: Any) -> Any:
    async with asyncio.timeout(SILENCE):
        return await _connect(connection)


def _send_or_close(connection: Any, request: Any, expect_response: bool = True) -> Awaitable[Any]:
    return _answer(connection, _send(connection, request, expect_response))


async def _answer(connection: Any, answer: Awaitable[Any]) -> Any:
    began = time.monotonic()
    try:
        return await answer
    except (TimeoutError, asyncio.CancelledError) as error:
        if isinstance(error, TimeoutError) or time.monotonic() - began > SILENCE:
            connection.close(reason=CloseReason.CONNECTION_TIMEOUT)
        raise
