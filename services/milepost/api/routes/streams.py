"""Server-sent events: how things are, then every change, with ids that resume without a gap."""

import asyncio
import random
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Annotated, Any, Final

import structlog
from fastapi import APIRouter, Header, Query, Response
from pydantic import BaseModel, ConfigDict, Field
from sse_starlette import EventSourceResponse, ServerSentEvent
from sse_starlette.sse import SendTimeoutError
from starlette.types import Receive, Scope, Send

from milepost.api import documents, problems
from milepost.api.answers import freshness
from milepost.api.context import Context
from milepost.api.guard import GuardedRoute
from milepost.api.parameters import ExecutionIdInPath, Parts, TenantInPath, TenantInQuery
from milepost.api.positions import check, event_id, vector
from milepost.api.problems import Problem
from milepost.api.readers import Dropped, Ended, News, Reader, Subject
from milepost.api.views import document, find, require, unknown
from milepost.projections.queries import changes
from milepost.projections.queries.changes import Vector
from milepost.projections.view import to_json
from milepost.schemas.values import TERMINAL, State, Word

router: Final = APIRouter(route_class=GuardedRoute, tags=["streams"])

# More executions in flight are left to the list.
IN_FLIGHT: Final = 500
# Somebody who takes nothing for so long is gone.
SEND_SECONDS: Final = 20.0
# The longest that an end takes: less than the server gives what is under way.
_GRACE_SECONDS: Final = 2.5
# Nothing is told for longer than this (and what a key is remembered for) once a token is taken back.
_ASKED_AGAIN_SECONDS: Final = 1.0
# Milliseconds; not all at once.
_RETRY_AFTER: Final = (500, 2_500)
_MAX_ID: Final = 16_384
_log: Final = structlog.get_logger(__name__)

LastEventId = Annotated[
    str | None,
    Header(
        alias="Last-Event-ID",
        max_length=_MAX_ID,
        description="The `id` that came last: go on from there. Positions in the log, which grant "
        "nothing; with one that does not fit the answer is 400, with one from before what was archived "
        "410.",
    ),
]
_STREAM: Final = {
    "description": "Events whose `data` is an execution: `snapshot`, as it is at the beginning; "
    "`execution`, it has changed; `end`, it is over. Then `ready` (a tenant's snapshot is complete) and "
    "`dropped` (read too slowly). A comment at least every 15 seconds, with an `id` of its own.",
    "content": {
        "text/event-stream": {
            "schema": {"type": "string"},
            # What is in `data`; only from OpenAPI 3.2 on there is a place for that.
            "x-milepost-data": {
                "$ref": f"#/components/schemas/{documents.StreamedExecution.__name__}"
            },
        }
    },
}
_PROBLEMS: Final = (
    problems.INVALID_EVENT_ID,
    problems.INVALID_REQUEST,
    problems.DATABASE_UNAVAILABLE,
    problems.SHUTTING_DOWN,
)
Events = AsyncGenerator[ServerSentEvent, None]


class TenantStreamQuery(BaseModel):
    """Which of a tenant's executions; one whose operation is not known yet may be among them."""

    model_config = ConfigDict(extra="forbid")
    state: frozenset[State] = Field(frozenset(), description="Only these states; may be repeated.")
    operation: Word | None = None


@router.get(
    "/executions/{execution_id}/stream",
    response_class=Response,
    responses={
        200: _STREAM,
        204: {"description": "The stream had come to its end before `Last-Event-ID`."},
        **problems.responses(problems.UNKNOWN_EXECUTION, *_PROBLEMS),
    },
)
async def stream_execution(
    parts: Parts,
    execution_id: ExecutionIdInPath,
    tenant: TenantInQuery = None,
    last_event_id: LastEventId = None,
) -> Response:
    """One execution as it is, then each change of it; ends with the event `end`."""
    since = None if last_event_id is None else vector(last_event_id)
    found = await find(parts, execution_id, tenant)
    if found is None:
        raise unknown(execution_id)
    return await _streaming(_of_execution(parts, Subject(found.tenant, execution_id), since))


@router.get(
    "/tenants/{tenant}/stream",
    response_class=Response,
    responses={200: _STREAM, **problems.responses(problems.EVENT_ID_EXPIRED, *_PROBLEMS)},
)
async def stream_tenant(
    parts: Parts,
    tenant: TenantInPath,
    query: Annotated[TenantStreamQuery, Query()],
    last_event_id: LastEventId = None,
) -> Response:
    """A tenant's executions in flight, the 500 newest at most, then each change of any of its
    executions, those that are over among them."""
    since = None if last_event_id is None else vector(last_event_id)
    subject = Subject(tenant, states=query.state, operation=query.operation)
    return await _streaming(_of_tenant(parts, subject, since))


async def _streaming(events: Events) -> Response:
    """The answer, or a problem where not even the first event can be had."""
    first = await anext(events, None)
    return Response(status_code=204) if first is None else _Stream(first, events)


class _Stream(EventSourceResponse):
    """Sends events; whoever does not take them in time is dropped."""

    def __init__(self, first: ServerSentEvent, events: Events) -> None:
        super().__init__(
            _to_the_end(first, events),
            ping=0,
            sep="\n",
            send_timeout=SEND_SECONDS,
            shutdown_grace_period=_GRACE_SECONDS,
        )
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        except SendTimeoutError:
            _log.warning("stream_dropped", path=scope["path"], reason="nothing was taken in time")
        finally:
            # Whatever has become of the answer: the reader must leave.
            await self._events.aclose()


async def _to_the_end(first: ServerSentEvent, events: Events) -> Events:
    """The events, and where they end too early, when to come again."""
    yield first
    retry = random.randint(*_RETRY_AFTER)
    try:
        async for event in events:
            yield event
    except Dropped as dropped:
        _log.warning("stream_dropped", tenant=dropped.tenant, reason=str(dropped))
        reason = to_json({"reason": str(dropped)}).decode()
        yield _event("dropped", reason, retry=retry)
    except Ended as ended:
        yield ServerSentEvent(comment=str(ended), retry=retry)
    except Problem as problem:
        yield ServerSentEvent(comment=problem.detail, retry=retry)


async def _of_execution(parts: Context, subject: Subject, since: Vector | None) -> Events:
    assert subject.execution_id is not None
    async with parts.streams.joined(subject) as reader:
        async with parts.streams.snapshot(parts.database, subject.tenant) as connection:
            folded = await changes.folded(connection, parts.topic)
            check(since or {}, folded.vector)
            found = await require(connection, parts, subject.execution_id, subject.tenant)
        view = document(parts, found)
        if found.terminal and since is not None and _had_ended(view, since):
            return
        reader.start(folded.vector)
        name = "end" if found.terminal else "snapshot"
        yield _event(name, _streamed(to_json(view).decode()), folded.vector)
        if found.terminal:
            return
        async for event in _following(parts, reader):
            yield event
            if event.event == "end":
                return


def _had_ended(view: dict[str, Any], since: Vector) -> bool:
    """Whether who has seen everything up to `since` has seen the end of an execution that is over.

    A browser connects again to whatever ends; 204 tells it not to.
    """
    last = view["transitions"][-1]
    return bool(last["offset"] < since.get(last["partition"], 0))


async def _of_tenant(parts: Context, subject: Subject, since: Vector | None) -> Events:
    async with parts.streams.joined(subject) as reader:
        if since is None:
            page = await parts.streams.in_flight(parts.database, subject, IN_FLIGHT)
            reader.start(page.until)
            for news in reversed(page.news):
                yield _event("snapshot", _streamed(news.document))
            ready = {
                "tenant": subject.tenant,
                "complete": not page.more,
                "freshness": freshness(page.lag, parts.now()),
            }
            yield _event("ready", to_json(ready).decode(), page.until)
        while since is not None:
            page = await parts.streams.since(parts.database, subject, since)
            since = page.until if page.more else None
            if since is None:
                reader.start(page.until)
            for news in page.news:
                yield _news(news)
            # Even where there was nothing for this reader: what was gone over need not be again.
            yield ServerSentEvent(id=event_id(page.until))
        async for event in _following(parts, reader):
            yield event


async def _following(parts: Context, reader: Reader) -> Events:
    """What changes from now on, and signs of life in between. Raises Ended."""
    clock = asyncio.get_running_loop().time
    asked = clock()
    while True:
        try:
            async with asyncio.timeout(parts.streams.heartbeat_seconds):
                event = _news(*await reader.take())
        except TimeoutError:
            if not reader.idle:
                continue
            event = ServerSentEvent(comment="heartbeat", id=event_id(parts.streams.told))
        if clock() - asked >= _ASKED_AGAIN_SECONDS:
            asked = clock()
            await _require_access(parts, reader.subject.tenant)
        yield event


async def _require_access(parts: Context, tenant: str) -> None:
    """Raise Ended where the caller would not be let in any more."""
    # While nobody can say so, nothing has been taken back either.
    with suppress(Problem):
        if not await parts.scope.still_sees(tenant):
            raise Ended("the token is not valid for this any more")


def _news(news: News, until: Vector | None = None) -> ServerSentEvent:
    name = "end" if news.state in TERMINAL else "execution"
    return _event(name, _streamed(news.document, news.completion_id), until)


def _streamed(document: str, completion_id: str | None = None) -> str:
    """`documents.StreamedExecution`; many readers share the document."""
    quoted = "null" if completion_id is None else f'"{completion_id}"'
    return f'{document[:-1]},"completion_id":{quoted}}}'


def _event(
    name: str, data: str, until: Vector | None = None, retry: int | None = None
) -> ServerSentEvent:
    """`until`: everything up to there has been sent once this is; None while in between."""
    id_ = None if until is None else event_id(until)
    return ServerSentEvent(data, event=name, id=id_, retry=retry, sep="\n")
