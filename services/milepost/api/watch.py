"""Waking those who wait for news of an execution: one query for all of them."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from copy import copy
from typing import Final

import structlog

from milepost.api.access import EVERY_TENANT, EVERYTHING, Scope
from milepost.api.database import Database
from milepost.api.problems import SHUTTING_DOWN, Problem
from milepost.projections import queries
from milepost.projections.queries import Standing
from milepost.schemas.values import TERMINAL

_RETRY_SECONDS: Final = 0.5
_log: Final = structlog.get_logger(__name__)


class _Waiter:
    """Somebody who wants to hear of an execution beyond this version."""

    def __init__(self, tenant: str | None, after: int, scope: Scope) -> None:
        self.tenant = tenant
        self.after = after
        self.scope = scope
        self.news: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def means(self, tenant: str) -> bool:
        """Whether this tenant's execution can be the one that is waited for."""
        return self.tenant in (None, tenant) and self.scope.sees(tenant)

    def hear(self, standing: Standing) -> None:
        """Wake up if this is news."""
        is_news = standing.version > self.after or standing.state in TERMINAL
        if is_news and not self.news.done():
            self.news.set_result(None)


class Watch:
    """Tells waiters when an execution in their scope moves. `run` must be running."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._scope = EVERYTHING
        self._waiters: dict[str, set[_Waiter]] = {}
        self._ask = asyncio.Event()
        self._closed = asyncio.Event()

    def within(self, scope: Scope) -> "Watch":
        """The same watch, for what `scope` may touch."""
        watch = copy(self)
        watch._scope = scope
        return watch

    async def newer(
        self, execution_id: str, tenant: str | None, after: int, seconds: float
    ) -> bool:
        """Wait until the fold has a version above `after`, or an end; False when time is up.

        Raises Problem (503) when the API shuts down first.
        """
        with self._waiting(execution_id, _Waiter(tenant, after, self._scope)) as waiter:
            # What was committed between the caller's look and now notifies no more.
            self._ask.set()
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await waiter.news
                return True
        return False

    @contextmanager
    def _waiting(self, execution_id: str, waiter: _Waiter) -> Iterator[_Waiter]:
        if self._closed.is_set():
            raise shutting_down()
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
        self._closed.set()
        for waiter in [one for waiters in self._waiters.values() for one in waiters]:
            if not waiter.news.done():
                waiter.news.set_exception(shutting_down())

    def wake(self) -> None:
        """The fold has moved: look for news."""
        self._ask.set()

    async def run(self) -> None:
        """One query after any number of wake-ups, for everybody who waits, until cancelled."""
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
        # Whoever names no tenant means the first that there is for them, as when looking.
        told: set[_Waiter] = set()
        for standing in standings:
            for waiter in self._waiters.get(standing.execution_id, ()):
                if waiter not in told and waiter.means(standing.tenant):
                    told.add(waiter)
                    waiter.hear(standing)


def shutting_down() -> Problem:
    """What to raise when somebody would have to wait longer than the server is there."""
    return Problem(SHUTTING_DOWN, "The API is shutting down; ask again in a moment.")
