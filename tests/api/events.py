"""Reading server-sent events as a client does, and making something happen that they tell of."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any, NamedTuple
from uuid import uuid4

import httpx2

from api.harness import Api, now, requested
from milepost.schemas.events import Started, Succeeded

WITHIN = 15.0


class Seen(NamedTuple):
    """One event: its name, its document (None: only an id) and the id that goes with it."""

    name: str
    data: dict[str, Any] | None
    id: str


class Stream:
    """An open stream."""

    def __init__(self, events: AsyncIterator[httpx2.ServerSentEvent]) -> None:
        self._events = events

    async def event(self) -> Seen:
        """The next event. Raises StopAsyncIteration at the end of the stream."""
        async with asyncio.timeout(WITHIN):
            event = await anext(self._events)
        data = json.loads(event.data) if event.data else None
        return Seen(event.event, data, event.id)

    async def named(self, *names: str) -> Seen:
        """The next event with one of these names; those before it are passed over."""
        while True:
            event = await self.event()
            if event.name in names and event.data is not None:
                return event

    async def version(self, execution_id: str, least: int) -> Seen:
        """The next event that has the execution in at least this version."""
        while True:
            event = await self.named("snapshot", "execution", "end")
            assert event.data is not None
            if event.data["execution_id"] == execution_id and event.data["version"] >= least:
                return event


@contextlib.asynccontextmanager
async def stream(
    http: httpx2.AsyncClient, path: str, last: str | None = None, **query: Any
) -> AsyncIterator[Stream]:
    """The stream at `path`, from the event `last` on."""
    headers = {} if last is None else {"Last-Event-ID": last}
    async with http.sse(path, headers=headers, params=query) as source:
        yield Stream(aiter(source))


def tenant() -> str:
    """A tenant of which nothing is known yet."""
    return f"t-{uuid4().hex[:12]}"


def started() -> Started:
    """It runs now."""
    return Started(occurred_at=now())


def succeeded() -> Succeeded:
    """It has ended now."""
    return Succeeded(occurred_at=now())


async def history(api: Api, owner: str, count: int) -> list[str]:
    """Executions of a tenant through two partitions, each from its request to its end."""
    ids = []
    for number in range(count):
        request = requested()
        ids.append(request.execution_id(owner))
        for event in (request, started(), succeeded()):
            await api.log.report(owner, ids[-1], event, partition=number % 2)
    return ids
