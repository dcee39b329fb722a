"""Following the API's streams: connections that break are made again, and nothing is missed."""

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Mapping
from contextlib import aclosing
from typing import Any, Final

import httpx2

from milepost.client.calls import Calls, quoted
from milepost.client.errors import ApiError, ApiUnavailable
from milepost.schemas.notifications import Execution
from milepost.schemas.values import TERMINAL, State

_RETRY_SECONDS: Final = 0.5
_MOST_RETRY_SECONDS: Final = 30.0
# The events that have an execution.
_VIEWS: Final = frozenset({"snapshot", "execution", "end"})
_READY: Final = "ready"
_log: Final = logging.getLogger(__name__)

Events = AsyncGenerator[httpx2.ServerSentEvent, None]


class StreamedExecution(Execution):
    """An execution in a stream.

    `completion_id`: where this is the news that it has ended, the id of its completion, the same as on
    the completion topic and of its webhook.
    """

    completion_id: str | None = None


class Streams:
    """The streams of one API. Raise ApiError for what it refuses."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def execution(
        self, execution_id: str, tenant: str | None
    ) -> AsyncIterator[StreamedExecution]:
        """See `MilepostClient.stream`."""
        path, last = f"/executions/{quoted(execution_id)}/stream", None
        async with aclosing(self._events(path, {"tenant": tenant})) as events:
            async for event in events:
                if event.event in _VIEWS:
                    view = self._calls.parse(StreamedExecution, event.data)
                    if view != last:  # a new connection begins with how things are
                        yield view
                    last = view
                    if view.state in TERMINAL:
                        return

    async def tenant(
        self,
        tenant: str,
        states: Collection[State],
        operation: str | None,
        on_ready: Callable[[], object],
    ) -> AsyncIterator[StreamedExecution]:
        """See `MilepostClient.stream_tenant`."""
        query = {"state": sorted(states), "operation": operation}
        async with aclosing(self._events(f"/tenants/{quoted(tenant)}/stream", query)) as events:
            async for event in events:
                if event.event == _READY:
                    on_ready()
                elif event.event in _VIEWS:
                    yield self._calls.parse(StreamedExecution, event.data)

    async def _events(self, path: str, query: Mapping[str, Any]) -> Events:
        """The events of as many connections as it takes, until the API says that there are no more."""
        last, failures, retry = "", 0, _RETRY_SECONDS
        while True:
            try:
                async with self._calls.events(path, query, last) as events:
                    if events is None:
                        return
                    async for event in events:
                        failures, last = 0, event.id or last
                        retry = _RETRY_SECONDS if event.retry is None else event.retry / 1_000
                        yield event
            except (ApiError, ApiUnavailable) as error:
                if isinstance(error, ApiError) and error.status < 500:
                    raise
                failures += 1
                _log.warning("the stream %s broke: %s", path, error)
            pause = min(retry * 2 ** min(failures, 8), _MOST_RETRY_SECONDS)
            # Not all who have lost the same API at once.
            await asyncio.sleep(random.uniform(0.5, 1.0) * pause)
