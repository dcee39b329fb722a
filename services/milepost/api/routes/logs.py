"""The log lines of an execution: from the beginning, from the end, or as they come."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated, Any, Final, NamedTuple

from fastapi import APIRouter, Query, Response
from pydantic import Field

from milepost.api import documents, problems
from milepost.api.access import EVERY_TENANT
from milepost.api.answers import answer
from milepost.api.context import Context
from milepost.api.guard import GuardedRoute
from milepost.api.pages import MAX_SIZE, Pages
from milepost.api.parameters import (
    ExecutionIdInPath,
    ExecutionPageQuery,
    Parts,
    Wait,
    invalid,
    wait_seconds,
)
from milepost.api.readers import Ended, Subject
from milepost.api.views import Found, archived, require, whole
from milepost.api.watch import shutting_down
from milepost.projections import queries
from milepost.projections.queries import ArchivedPart, LoggedLine
from milepost.schemas.binding import moment
from milepost.schemas.values import BIGINT, MAX_LOG_LINES, Level

router: Final = APIRouter(route_class=GuardedRoute, tags=["history"])

# (ordinal of the record, number of the line in it)
_Place = tuple[int, int]
_pages: Final = Pages[_Place](
    "logs",
    tuple[Annotated[int, Field(ge=0, lt=BIGINT)], Annotated[int, Field(ge=0, lt=MAX_LOG_LINES)]],
)
_BEFORE_ALL: Final = (0, -1)
_SEVERITY: Final = {level: severity for severity, level in enumerate(Level)}


class _Look(NamedTuple):
    """The execution, a page of its lines, whether there is another one, and what has left the log."""

    found: Found
    lines: Sequence[LoggedLine]
    more: bool
    archived: ArchivedPart | None


class LogsQuery(ExecutionPageQuery):
    """Which log lines."""

    level: Level = Field(Level.DEBUG, description="Only lines of this severity or a higher one.")
    tail: int | None = Field(
        None, ge=1, le=MAX_SIZE, description="The last so many lines, and no page after them."
    )
    wait: Wait = Field(
        None,
        description="Where there is no line yet: wait for one this long (`30s`; at most 60 s).",
    )

    def question(self) -> dict[str, Any]:
        """A page may go on at another level, or after the end was looked at."""
        return {"tenant": self.tenant}


@router.get(
    "/executions/{execution_id}/logs",
    response_class=Response,
    responses={
        200: {"model": documents.Logs},
        **problems.responses(
            problems.UNKNOWN_EXECUTION,
            problems.INVALID_REQUEST,
            problems.INVALID_PAGE_TOKEN,
            problems.DATABASE_UNAVAILABLE,
            problems.SHUTTING_DOWN,
        ),
    },
)
async def list_logs(
    parts: Parts, execution_id: ExecutionIdInPath, query: Annotated[LogsQuery, Query()]
) -> Response:
    """The log lines of the execution in the order of folding; lines of repeated events once."""
    seconds = wait_seconds(query.wait)
    if query.tail is not None and query.page_token is not None:
        raise invalid("query", "tail", "cannot be combined with page_token")
    question = {"execution_id": execution_id, **query.question()}
    after = _BEFORE_ALL
    if query.page_token is not None:
        after = _pages.after(query.page_token, question)
    look = await _look(parts, execution_id, query, after)
    if seconds and not look.lines and not look.found.terminal:
        look = await _first(parts, look, query, after, seconds)
    found, page, more, gone = look
    follow = query.page_token
    if page:
        follow = _pages.token((page[-1].ordinal, page[-1].number), question)
    return answer(
        {
            **whole(parts, found),
            "state": found.state,
            "archived": archived(gone),
            "items": [_entry(one) for one in page if _severe(one, query.level)],
            "next_page_token": follow if more else None,
            "follow_token": follow,
        }
    )


async def _look(parts: Context, execution_id: str, query: LogsQuery, after: _Place) -> _Look:
    async with parts.database.acting_for(query.tenant or EVERY_TENANT) as connection:
        found = await require(connection, parts, execution_id, query.tenant)
        gone = await queries.archived_part(connection, execution_id, found.tenant)
        if query.tail is not None:
            lines = await queries.last_logs(connection, execution_id, found.tenant, query.tail)
            return _Look(found, lines, False, gone)
        lines, more = await queries.execution_logs(
            connection, execution_id, found.tenant, after, query.page_size
        )
    return _Look(found, lines, more, gone)


async def _first(
    parts: Context, look: _Look, query: LogsQuery, after: _Place, seconds: float
) -> _Look:
    """As `_look`, once there is a line, the execution is over, or the time is."""
    execution_id = look.found.execution_id
    with suppress(TimeoutError):
        async with (
            asyncio.timeout(seconds),
            parts.streams.joined(Subject(look.found.tenant, execution_id)) as reader,
        ):
            while True:
                look = await _look(parts, execution_id, query, after)
                if look.lines or look.found.terminal:
                    break
                try:
                    await reader.take()
                except Ended:
                    raise shutting_down() from None
    return look


def _severe(logged: LoggedLine, level: Level) -> bool:
    return _SEVERITY[logged.line.level] >= _SEVERITY[level]


def _entry(logged: LoggedLine) -> dict[str, object]:
    line = logged.line
    return {
        "ordinal": logged.ordinal,
        "occurred_at": line.occurred_at or moment(logged.event.occurred),
        "level": line.level.value,
        "stream": line.stream,
        "message": line.message,
        "event_id": logged.event.id,
        "partition": logged.event.partition,
        "offset": logged.event.offset,
    }
