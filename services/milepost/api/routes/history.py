"""What became of an execution: its transitions, records, log lines and resources."""

from typing import Annotated, Final

from fastapi import APIRouter, Query, Response
from pydantic import Field

from milepost.api import documents, problems
from milepost.api.answers import answer, freshness
from milepost.api.context import Context
from milepost.api.database import EVERY_TENANT
from milepost.api.pages import Pages
from milepost.api.parameters import ExecutionIdInPath, ExecutionPageQuery, Parts, TenantInQuery
from milepost.api.views import document, find, require, unknown
from milepost.projections import queries
from milepost.projections.queries import LoggedLine
from milepost.schemas.binding import moment
from milepost.schemas.values import BIGINT, MAX_LOG_LINES

router: Final = APIRouter(tags=["history"])

_PROBLEMS: Final = (
    problems.UNKNOWN_EXECUTION, problems.INVALID_REQUEST, problems.DATABASE_UNAVAILABLE,
)  # fmt: skip
_PAGE_PROBLEMS: Final = (*_PROBLEMS, problems.INVALID_PAGE_TOKEN)
_Ordinal = Annotated[int, Field(ge=0, lt=BIGINT)]
_events_pages: Final = Pages[int]("events", _Ordinal)
# (ordinal of the record, number of the line in it)
_logs_pages: Final = Pages[tuple[int, int]](
    "logs", tuple[_Ordinal, Annotated[int, Field(ge=0, lt=MAX_LOG_LINES)]]
)
_BEFORE_ALL: Final = (0, -1)


@router.get(
    "/executions/{execution_id}/transitions",
    response_class=Response,
    responses={200: {"model": documents.Transitions}, **problems.responses(*_PROBLEMS)},
)
async def list_transitions(
    parts: Parts, execution_id: ExecutionIdInPath, tenant: TenantInQuery = None
) -> Response:
    """Every state that the execution has been in, with the times of entering it."""
    return await _part_of_view(parts, execution_id, tenant, "transitions")


@router.get(
    "/executions/{execution_id}/resources",
    response_class=Response,
    responses={200: {"model": documents.ExecutionResources}, **problems.responses(*_PROBLEMS)},
)
async def list_resources(
    parts: Parts, execution_id: ExecutionIdInPath, tenant: TenantInQuery = None
) -> Response:
    """The resources that the execution made, changed, released or left behind."""
    return await _part_of_view(parts, execution_id, tenant, "resources")


async def _part_of_view(
    parts: Context, execution_id: str, tenant: str | None, member: str
) -> Response:
    found = await find(parts, execution_id, tenant)
    if found is None:
        raise unknown(execution_id)
    view = document(parts, found)
    return answer(
        {"execution_id": execution_id, "items": view[member], "freshness": view["freshness"]}
    )


@router.get(
    "/executions/{execution_id}/events",
    response_class=Response,
    responses={200: {"model": documents.ExecutionEvents}, **problems.responses(*_PAGE_PROBLEMS)},
)
async def list_events(
    parts: Parts, execution_id: ExecutionIdInPath, query: Annotated[ExecutionPageQuery, Query()]
) -> Response:
    """Every raw record of the execution with what the fold did with it, in the order of folding."""
    question = {"execution_id": execution_id, **query.question()}
    after = _events_pages.after(query.page_token, question) if query.page_token is not None else 0
    async with parts.database.acting_for(query.tenant or EVERY_TENANT) as connection:
        found = await require(connection, parts, execution_id, query.tenant)
        rows = await queries.execution_events(
            connection, execution_id, found.tenant, after, query.page_size + 1
        )
    page = rows[: query.page_size]
    more = len(rows) > len(page)
    return answer(
        {
            "execution_id": execution_id,
            "items": [row._asdict() for row in page],
            "next_page_token": _events_pages.token(page[-1].ordinal, question) if more else None,
            "freshness": freshness(found.lag, parts.now()),
        }
    )


@router.get(
    "/executions/{execution_id}/logs",
    response_class=Response,
    responses={200: {"model": documents.Logs}, **problems.responses(*_PAGE_PROBLEMS)},
)
async def list_logs(
    parts: Parts, execution_id: ExecutionIdInPath, query: Annotated[ExecutionPageQuery, Query()]
) -> Response:
    """The log lines of the execution in the order of folding; lines of repeated events once."""
    question = {"execution_id": execution_id, **query.question()}
    after = _BEFORE_ALL
    if query.page_token is not None:
        after = _logs_pages.after(query.page_token, question)
    async with parts.database.acting_for(query.tenant or EVERY_TENANT) as connection:
        found = await require(connection, parts, execution_id, query.tenant)
        lines = await queries.execution_logs(
            connection, execution_id, found.tenant, after, query.page_size + 1
        )
    page = lines[: query.page_size]
    token = None
    if len(lines) > len(page):
        token = _logs_pages.token((page[-1].ordinal, page[-1].number), question)
    return answer(
        {
            "execution_id": execution_id,
            "items": [_entry(logged) for logged in page],
            "next_page_token": token,
            "freshness": freshness(found.lag, parts.now()),
        }
    )


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
