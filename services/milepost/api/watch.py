"""Waking those who wait for news of an execution: one LISTEN and one query for all of them."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

import asyncpg
import structlog

from milepost.api.database import EVERY_TENANT, Database
from milepost.api.problems import SHUTTING_DOWN, Problem
from milepost.projections import queries
from milepost.projections.queries import Standing
from milepost.schemas.values import TERMINAL

# The processor notifies here once a batch, after its commit.
CHANNEL: Final = "milepost_positions"
_RETRY_SECONDS: Final = 0.5
# A connection can be gone without a word.
_PROBE_SECONDS: Final = 10.0
_LOST: Final = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)
_log: Final = structlog.get_logger(__name__)


class _Waiter:
    """Somebody who wants to hear of an execution beyond this version."""

    def __init__(self, tenant: str | None, after: int) -> None:
        self.tenant = tenant
        self.after = after
        self.news: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def hear(self, standing: Standing) -> None:
        """Wake up if this is news."""
        is_news = standing.version > self.after or standing.state in TERMINAL
        if is_news and not self.news.done():
            self.news.set_result(None)


class Watch:
    """Tells waiters when an execution moves. `run` must be running."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiters: dict[str, set[_Waiter]] = {}
        self._ask = asyncio.Event()
        self._closed = False

    async def newer(
        self, execution_id: str, tenant: str | None, after: int, seconds: float
    ) -> bool:
        """Wait until the fold has a version above `after`, or an end; False when time is up.

        Raises Problem (503) when the API shuts down first.
        """
        with self._waiting(execution_id, _Waiter(tenant, after)) as waiter:
            # What was committed between the caller's look and now notifies no more.
            self._ask.set()
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await waiter.news
                return True
        return False

    @contextmanager
    def _waiting(self, execution_id: str, waiter: _Waiter) -> Iterator[_Waiter]:
        if self._closed:
            raise _shutting_down()
        waiters = self._waiters.setdefault(execution_id, set())
        waiters.add(waiter)
        try:
            yield waiter
        finally:
            waiters.discard(waiter)
            if not waiters:
                self._waiters.pop(execution_id, None)

    def close(self) -> None:
        """Send every waiter away: the server is going."""
        self._closed = True
        for waiter in [one for waiters in self._waiters.values() for one in waiters]:
            if not waiter.news.done():
                waiter.news.set_exception(_shutting_down())

    async def run(self) -> None:
        """Listen and wake, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen())
            tasks.create_task(self._answer())

    async def _listen(self) -> None:
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
            await connection.add_listener(CHANNEL, lambda *_: self._ask.set())
            # News may have come while nobody listened.
            self._ask.set()
            while not lost.is_set():
                with suppress(TimeoutError):
                    await asyncio.wait_for(lost.wait(), _PROBE_SECONDS)
                    continue
                await connection.execute("SELECT")
        except _LOST as error:
            _log.warning("listening_ended", error=str(error))
        finally:
            connection.terminate()

    async def _answer(self) -> None:
        """One query after any number of notifications, for everybody who waits."""
        while True:
            await self._ask.wait()
            self._ask.clear()
            if not self._waiters:
                continue
            try:
                async with self._database.acting_for(EVERY_TENANT) as connection:
                    standings = await queries.versions(connection, list(self._waiters))
            except Problem as problem:
                _log.warning("cannot_look_for_news", error=problem.detail)
                await asyncio.sleep(_RETRY_SECONDS)
                self._ask.set()
                continue
            self._tell(standings)

    def _tell(self, standings: list[Standing]) -> None:
        told = set()
        for standing in standings:
            # Whoever names no tenant means the first, as when looking.
            first = standing.execution_id not in told
            told.add(standing.execution_id)
            for waiter in self._waiters.get(standing.execution_id, ()):
                if waiter.tenant == standing.tenant or (waiter.tenant is None and first):
                    waiter.hear(standing)


def _shutting_down() -> Problem:
    return Problem(SHUTTING_DOWN, "The API is shutting down; ask again in a moment.")
