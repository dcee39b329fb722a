"""Hearing that the fold has moved: one LISTEN for all who want to know."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

import asyncpg
import structlog

from milepost.api.database import Database

# The processor notifies here once a batch, after its commit.
CHANNEL: Final = "milepost_positions"
_RETRY_SECONDS: Final = 0.5
# A connection can be gone without a word.
_PROBE_SECONDS: Final = 10.0
_LOST: Final = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)
_log: Final = structlog.get_logger(__name__)


class Listener:
    """Calls each of `wake` after any number of batches; `run` must be running."""

    def __init__(self, database: Database, wake: Sequence[Callable[[], None]]) -> None:
        self._database = database
        self._wake = wake

    async def run(self) -> None:
        """Listen, and connect again where the connection is lost, until cancelled."""
        while True:
            try:
                connection = await self._database.connect()
            except _LOST as error:
                _log.warning("cannot_listen", error=str(error))
            else:
                await self._listen_on(connection)
            await asyncio.sleep(_RETRY_SECONDS)

    async def _listen_on(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        lost = asyncio.Event()
        connection.add_termination_listener(lambda *_: lost.set())
        try:
            await connection.add_listener(CHANNEL, lambda *_: self._wake_all())
            # News may have come while nobody listened.
            self._wake_all()
            while not lost.is_set():
                with suppress(TimeoutError):
                    await asyncio.wait_for(lost.wait(), _PROBE_SECONDS)
                    continue
                await connection.execute("SELECT")
        except _LOST as error:
            _log.warning("listening_ended", error=str(error))
        finally:
            connection.terminate()

    def _wake_all(self) -> None:
        for wake in self._wake:
            wake()
