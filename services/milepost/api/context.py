"""The parts of the API, made and connected in one place."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from fastapi import Request
from starlette.types import Scope as Connection

from milepost.api.access import EVERYTHING, Scope
from milepost.api.broker import Broker
from milepost.api.database import Database
from milepost.api.guard import SCOPE
from milepost.api.ledger import Ledger
from milepost.api.listener import Listener
from milepost.api.streams import Streams
from milepost.api.watch import Watch
from milepost.settings import Settings


def utc_now() -> datetime:
    """The current time, UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class Context:
    """What the routes work with. `now` gives the current time; nothing goes beyond `scope`."""

    settings: Settings
    database: Database
    broker: Broker
    ledger: Ledger
    watch: Watch
    streams: Streams
    now: Callable[[], datetime]
    scope: Scope = EVERYTHING

    def within(self, scope: Scope) -> "Context":
        """The same parts, for what `scope` may touch."""
        database, broker = self.database.within(scope), self.broker.within(scope)
        ledger = Ledger(database, broker, self.topic)
        watch = self.watch.within(scope)
        return Context(
            self.settings, database, broker, ledger, watch, self.streams, self.now, scope
        )

    @property
    def topic(self) -> str:
        """The topic of the events."""
        return self.settings.topics.events


async def context(request: Request) -> Context:
    """What this request may work with, as far as the guard let it in."""
    return context_of(request.scope)


def context_of(connection: Connection) -> Context:
    """As `context`, for what the server knows of a request."""
    whole: Context = connection["app"].state.context
    return whole.within(connection[SCOPE])


@asynccontextmanager
async def running(
    settings: Settings, now: Callable[[], datetime] = utc_now
) -> AsyncIterator[Context]:
    """Everything made, connected and at work until the block ends.

    Neither Postgres nor Kafka need be there: what needs them answers 503 until they are.
    """
    database = Database(settings.dsn)
    broker = Broker(settings)
    ledger = Ledger(database, broker, settings.topics.events)
    watch = Watch(database)
    streams = Streams(database, settings.topics.events, settings.heartbeats, now)
    listener = Listener(database, [watch.wake, streams.wake])
    parts = (broker, ledger, listener, watch, streams)
    await database.open()
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(part.run()) for part in parts]
            yield Context(settings, database, broker, ledger, watch, streams, now)
            for task in tasks:
                task.cancel()
    finally:
        await database.close()
