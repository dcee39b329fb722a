"""An upgrade, gone back on, and made again, while everything works: the schema, then service by service."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import httpx2

from faults.kinds import Fault
from faults.supervised import Supervised
from faults.system import System
from milepost.projections.migrate import migrate
from milepost.projections.undo import undo
from signals import end_of, following

# The last migration of the first schema: what comes after it goes and comes back.
BASE: Final = "0009"
NAME: Final = "schema up and down"
LEAST: Final = 2  # rounds
# Of the load: what is left of it is for the last round, in which there must be something to fold.
_CHANGING: Final = 0.6
_READ_SECONDS: Final = 0.05


@dataclass
class Upgrade:
    """Rounds while so many events come in so many seconds; and what was measured meanwhile."""

    events: int
    seconds: int
    rounds: int = 0
    # The longest of each, in seconds: a change, and no batch folded while the schema changed.
    took: dict[str, float] = field(default_factory=dict)
    pause: float = 0.0
    # How often the API answered so, 0 for a connection that broke.
    answers: Counter[int] = field(default_factory=Counter)

    @property
    def fault(self) -> Fault:
        """What a trial strikes with."""
        return Fault(NAME, self._strike)

    @asynccontextmanager
    async def _strike(self, system: System) -> AsyncIterator[None]:
        before = [one.restarts for one in system.services]
        reading = asyncio.create_task(self._read(system))
        try:
            while await self._sent(system) < self.events * _CHANGING:
                self.rounds += 1
                await self._change(system, "down")
                await self._restart(*system.processors)
                await self._change(system, "up")
                await self._restart(*system.services)
            async with following(system.direct) as positions:
                await positions.reach(self.events, within=self.seconds)
        finally:
            reading.cancel()
            ended = await asyncio.gather(reading, return_exceptions=True)
        assert isinstance(ended[0], asyncio.CancelledError), ended[0]
        restarts = [one.restarts - had for one, had in zip(system.services, before, strict=True)]
        asked = [2 * self.rounds, 2 * self.rounds, self.rounds, self.rounds]
        assert restarts == asked, "a service ended by itself"
        yield

    async def _sent(self, system: System) -> int:
        return await end_of(system.direct, system.direct.topics.events)

    async def _change(self, system: System, way: str) -> None:
        """Batches are folded before it, while it is under way, and after it."""
        dsn = system.direct.dsn
        async with following(system.direct) as positions:
            folded = await positions.reach(await positions.reach(0) + 1)
            began = last = time.monotonic()
            changing = asyncio.create_task(migrate(dsn) if way == "up" else _back(dsn))
            while not changing.done():
                folded = await positions.reach(folded + 1)
                now = time.monotonic()
                self.pause, last = max(self.pause, now - last), now
            await changing
        self.took[way] = max(self.took.get(way, 0.0), time.monotonic() - began)

    async def _restart(self, *services: Supervised) -> None:
        """One after the other, each when the one before it is ready."""
        for one in services:
            assert await (await one.up()).stop() == 0
            await one.up()

    async def _read(self, system: System) -> None:
        """Ask for a summary and a page, until cancelled."""
        tenant = f"/v1/tenants/{self.fault.slug}-1"
        async with httpx2.AsyncClient(
            base_url=system.direct.api_url, trust_env=False, timeout=15
        ) as api:
            while True:
                for path in (tenant, f"{tenant}/executions?page_size=20"):
                    try:
                        answer = await api.get(path)
                    except httpx2.TransportError:
                        self.answers[0] += 1
                    else:
                        self.answers[answer.status_code] += 1
                        assert answer.status_code == 200, answer.text
                await asyncio.sleep(_READ_SECONDS)


async def _back(dsn: str) -> None:
    """With what the webhooks have of traces, should there be any."""
    await undo(dsn, BASE, lose=True)
