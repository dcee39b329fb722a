"""A connection on which a request to Kafka was not answered in time is closed.

aiokafka does that for most requests, but not for those for metadata: a connection that is gone without
a word would be asked again and again, and whoever waits for metadata would wait for ever.
"""

from collections.abc import Awaitable
from typing import Any, Final

from aiokafka.conn import AIOKafkaConnection, CloseReason

_send: Final = AIOKafkaConnection.send


def install() -> None:
    """For every connection of this process: aiokafka has no narrower place for it."""
    AIOKafkaConnection.send = _send_or_close


def _send_or_close(connection: Any, request: Any, expect_response: bool = True) -> Awaitable[Any]:
    return _answer(connection, _send(connection, request, expect_response))


async def _answer(connection: Any, answer: Awaitable[Any]) -> Any:
    try:
        return await answer
    except TimeoutError:
        connection.close(reason=CloseReason.CONNECTION_TIMEOUT)
        raise
