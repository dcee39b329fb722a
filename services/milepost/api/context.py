"""The parts of the API, made and connected in one place."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from copy import copy
from datetime import UTC, datetime

from fastapi import Request
from starlette.types import Scope as Connection

from milepost.api.access import EVERYTHING, Scope
from milepost.api.broker import Broker
from milepost.api.database import Database
from milepost.api.guard import SCOPE
from milepost.api.ledger import Ledger
from milepost.api.listener import Listener
from milepost.api.standing import Standing
from milepost.api.streams import Streams
from milepost.api.watch import Watch
from milepost.projections.queries import Heartbeats
from milepost.settings import Settings


def utc_now() -> datetime:
    """The current time, UTC."""
    return datetime.now(UTC)


class Context:
    """What the routes work with. `now` gives the current time; nothing goes beyond `scope`.

    `topic` is that of the events.
    """

    def __init__(
        self,
        settings: Settings,
        database: Database,
        broker: Broker,
        watch: Watch,
        streams: Streams,
        now: Callable[[], datetime],
    ) -> None:
        self.settings = settings
        # Made once: the settings make them anew each time.
        self.topic = settings.topics.events
        self.heartbeats: Heartbeats = settings.heartbeats
        self.streams = streams
        self.now = now
        self.scope = EVERYTHING
        self._database = database
        self._broker = broker
        self._watch = watch

    def within(self, scope: Scope) -> "Context":
        """The same parts, for what `scope` may touch."""
        context = copy(self)
        context.scope = scope
        return context

    # Each is bound to the scope when it is asked for: few requests need more than one.

    @property
    def database(self) -> Database:
        """The database, within the scope."""
        return self._database.within(self.scope)

    @property
    def broker(self) -> Broker:
        """The broker, within the scope."""
        return self._broker.within(self.scope)

    @property
    def ledger(self) -> Ledger:
        """The ledger, within the scope."""
        return Ledger(self.database, self.broker, self.topic)

    @property
    def watch(self) -> Watch:
        """The watch, within the scope."""
        return self._watch.within(self.scope)


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
    standing = Standing(database, settings.topics.events, settings.heartbeats, now)
    parts = (broker, ledger, listener, watch, streams, standing)
    await database.open()
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(part.run()) for part in parts]
            yield Context(settings, database, broker, watch, streams, now)
            for task in tasks:
                task.cancel()
    finally:
        await database.close()
