"""Transactions whose end is known, also where the connection was lost while they were being committed.

Postgres remembers what became of every transaction by its number, so another connection can be asked.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final

from milepost.projections.queries import Connection
from milepost.projections.statements import statement

# A server that has not heard of the loss ends the transaction by itself, later than this.
_LOOK_SECONDS: Final = 3.0
_PAUSE_SECONDS: Final = 0.05

Acquire = Callable[[], AbstractAsyncContextManager[Connection]]


class OutcomeUnknown(ConnectionError):
    """A commit was not answered, and nobody could say in time whether it was done."""


@asynccontextmanager
async def committed(acquire: Acquire) -> AsyncIterator[Connection]:
    """A connection in a transaction, which is committed when the block is left without an error.

    Raises OutcomeUnknown; after any other error nothing was changed. `acquire` gives connections: this
    one, and another where the first was lost.
    """
    number, ends = None, False
    try:
        async with acquire() as connection, connection.transaction():
            yield connection
            number = await connection.fetchval(statement("transaction_number"))
            ends = True
    except Exception:
        # One without a number has changed nothing: whatever became of it, it is done.
        if not ends or (number is not None and not await _was_committed(acquire, number)):
            raise


async def _was_committed(acquire: Acquire, number: str) -> bool:
    try:
        async with asyncio.timeout(_LOOK_SECONDS):
            while True:
                async with acquire() as connection:
                    status = await connection.fetchval(statement("transaction_status"), number)
                if status != "in progress":
                    return bool(status == "committed")
                await asyncio.sleep(_PAUSE_SECONDS)
    except Exception as error:
        raise OutcomeUnknown("whether it was committed is not known") from error
