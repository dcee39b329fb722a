"""Following what changes: one query a wake-up for every open stream.

A reader joins first, then reads how things are together with the positions that this is true for,
and then takes from its buffer what lies beyond them. So nothing is missed; what comes twice can be
told by its version.
"""

import asyncio
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final, NamedTuple

import orjson
import structlog

from milepost.api import metrics
from milepost.api.access import EVERY_TENANT
from milepost.api.answers import fresh
from milepost.api.database import Database
from milepost.api.positions import check, check_kept
from milepost.api.problems import Problem
from milepost.api.readers import Ended, News, Reader, Subject
from milepost.api.watch import shutting_down
from milepost.projections.queries import (
    Connection,
    Heartbeats,
    PartitionLag,
    archived_beyond,
    changes,
)
from milepost.projections.queries.changes import Changed, Vector
from milepost.projections.view import render, to_json
from milepost.schemas.values import TERMINAL, State

HEARTBEAT_SECONDS: Final = 15.0
# Whoever may no longer see a tenant sees it no longer than this: it must come with its token again.
_LIFETIME_SECONDS: Final = 900.0
# Records that one query goes over, in all partitions together: bounds its time and its answer.
_RECORDS: Final = 1_000
# Under load, news is collected for so long.
_PACE_SECONDS: Final = 0.02
_RETRY_SECONDS: Final = 0.5
# Snapshots take connections that everybody else needs as well.
_SNAPSHOTS: Final = 4
_log: Final = structlog.get_logger(__name__)


class Page(NamedTuple):
    """News of everything between two vectors, up to `until`; `more`: the fold is further."""

    news: list[News]
    until: Vector
    lag: Sequence[PartitionLag]
    more: bool


class Streams:
    """Tells the readers what changes. `run` must be running."""

    def __init__(
        self, database: Database, topic: str, heartbeats: Heartbeats, now: Callable[[], datetime]
    ) -> None:
        self.heartbeat_seconds = HEARTBEAT_SECONDS
        self._database = database
        self._topic = topic
        self._heartbeats = heartbeats
        self._now = now
        self._readers: set[Reader] = set()
        # Everything below has been told; None while nobody reads.
        self._told: Vector | None = None
        self._ask = asyncio.Event()
        self._snapshots = asyncio.Semaphore(_SNAPSHOTS)
        self._closed = False

    @asynccontextmanager
    async def joined(self, subject: Subject) -> AsyncIterator[Reader]:
        """A reader that hears of everything that is not folded yet, until the block ends.

        Raises Problem (503) when the API shuts down or the database is away.
        """
        if self._told is None:
            async with self._database.acting_for(EVERY_TENANT) as connection:
                folded = await changes.folded(connection, self._topic)
            if self._told is None:
                self._told = folded.vector
        if self._closed:
            raise shutting_down()
        reader = Reader(subject)
        self._readers.add(reader)
        metrics.STREAMS.inc()
        lifetime = random.uniform(0.8, 1.2) * _LIFETIME_SECONDS
        end = asyncio.get_running_loop().call_later(lifetime, reader.end, Ended("come again"))
        try:
            yield reader
        finally:
            end.cancel()
            self._readers.discard(reader)
            metrics.STREAMS.dec()
            if not self._readers:
                self._told = None

    @property
    def told(self) -> Vector:
        """What a reader that is idle has heard of."""
        return self._told or {}

    async def in_flight(self, database: Database, subject: Subject, limit: int) -> Page:
        """The newest executions of a tenant that are not over; `more` where there are more."""
        states = (subject.states or set(State)) - TERMINAL
        async with self.snapshot(database, subject.tenant) as connection:
            folded = await changes.folded(connection, self._topic)
            rows = await changes.in_flight(
                connection,
                subject.tenant,
                states=states,
                operation=subject.operation,
                limit=limit + 1,
                heartbeats=self._heartbeats,
            )
        news = self._news(rows[:limit], folded.lag)
        more = len(rows) > limit or changes.fills_an_answer(rows)
        return Page(news, folded.vector, folded.lag, more)

    async def since(self, database: Database, subject: Subject, vector: Vector) -> Page:
        """News of a tenant from a vector on, not more than fits in an answer.

        Raises Problem: 400 where the vector is beyond the fold, 410 where it is before what was
        archived, 503.
        """
        async with self.snapshot(database, subject.tenant) as connection:
            folded = await changes.folded(connection, self._topic)
            check(vector, folded.vector)
            check_kept(await archived_beyond(connection, self._topic, vector))
            until = await changes.stop(connection, self._topic, vector, folded.vector, _RECORDS)
            news = await self._between(connection, vector, until, folded.lag, [subject])
        covered = [one for one in news if subject.covers(one)]
        return Page(covered, until, folded.lag, until != folded.vector)

    @asynccontextmanager
    async def snapshot(self, database: Database, tenant: str) -> AsyncIterator[Connection]:
        """A connection on which everything is as at one moment; few at a time."""
        async with (
            self._snapshots,
            database.acting_for(tenant) as connection,
            changes.moment(connection),
        ):
            yield connection

    def wake(self) -> None:
        """The fold has moved."""
        self._ask.set()

    def close(self) -> None:
        """End every stream: the server is going."""
        self._closed = True
        for reader in self._readers:
            reader.end(Ended("the API is shutting down"))

    async def run(self) -> None:
        """Tell the readers what changes, until cancelled."""
        while True:
            await self._ask.wait()
            self._ask.clear()
            try:
                if await self._tell():
                    self._ask.set()
            except Problem as problem:
                _log.warning("cannot_look_for_changes", error=problem.detail)
                await asyncio.sleep(_RETRY_SECONDS)
                self._ask.set()
            await asyncio.sleep(_PACE_SECONDS)

    async def _tell(self) -> bool:
        """Tell what lies beyond what was told; whether there is still more."""
        since = self._told
        if since is None:
            return False
        async with (
            self._database.acting_for(EVERY_TENANT) as connection,
            changes.moment(connection),
        ):
            folded = await changes.folded(connection, self._topic)
            # Whoever joins from here on reads later than that.
            readers = tuple(self._readers)
            until = await changes.stop(connection, self._topic, since, folded.vector, _RECORDS)
            subjects = [reader.subject for reader in readers]
            news = await self._between(connection, since, until, folded.lag, subjects)
        heard = _by_subject(news)
        for reader in readers:
            subject = reader.subject
            reader.hear(heard.get((subject.tenant, subject.execution_id), ()), until)
        if self._told is not None:
            self._told = until
        return until != folded.vector

    async def _between(
        self,
        connection: Connection,
        since: Vector,
        until: Vector,
        lag: Sequence[PartitionLag],
        subjects: Sequence[Subject],
    ) -> list[News]:
        rows = await changes.between(
            connection,
            self._topic,
            since,
            until,
            tenants={one.tenant for one in subjects if one.execution_id is None},
            execution_ids={one.execution_id for one in subjects if one.execution_id is not None},
            heartbeats=self._heartbeats,
        )
        return self._news(rows, lag)

    def _news(self, rows: Sequence[Changed], lag: Sequence[PartitionLag]) -> list[News]:
        now = self._now()
        return [_told(row, lag, now) for row in rows]


def _told(row: Changed, lag: Sequence[PartitionLag], now: datetime) -> News:
    view = render(orjson.loads(row.body)) | row.silence._asdict()
    document = to_json(fresh(view, lag, now)).decode()
    return News(
        row.execution_id, row.tenant, row.state, view["operation"], document, row.completion_id
    )


def _by_subject(news: Sequence[News]) -> dict[tuple[str, str | None], list[News]]:
    """What concerns a tenant, and what concerns one execution of it."""
    found = defaultdict[tuple[str, str | None], list[News]](list)
    for one in news:
        found[one.tenant, None].append(one)
        found[one.tenant, one.execution_id].append(one)
    return found
