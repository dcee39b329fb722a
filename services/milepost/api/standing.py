"""Each quarter of a minute: what is silent, what is not published, how far the fold is behind."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Final

import structlog

from milepost.api import metrics
from milepost.api.access import EVERY_TENANT
from milepost.api.database import Database
from milepost.api.problems import Problem
from milepost.projections import queries
from milepost.projections.queries import Heartbeats
from milepost.projections.queries.counts import counts

_SECONDS: Final = 15.0
_log: Final = structlog.get_logger(__name__)


class Standing:
    """Measures how things are in the database. `topic` is the events topic."""

    def __init__(
        self, database: Database, topic: str, heartbeats: Heartbeats, now: Callable[[], datetime]
    ) -> None:
        self._database = database
        self._topic = topic
        self._heartbeats = heartbeats
        self._now = now

    async def run(self) -> None:
        """Measure until cancelled."""
        while True:
            try:
                await self.measure()
            except Problem as problem:
                _log.warning("standing_not_known", error=problem.detail)
            await asyncio.sleep(_SECONDS)

    async def measure(self) -> None:
        """Measure now. Raises Problem (503)."""
        async with self._database.acting_for(EVERY_TENANT) as connection:
            counted = await counts(connection, self._heartbeats)
            lag = await queries.lag(connection, self._topic)
        metrics.stands(counted, lag, self._now())
