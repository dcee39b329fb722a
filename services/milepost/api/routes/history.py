"""What became of an execution: its transitions, records and resources."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query, Response
from pydantic import Field

from milepost.api import documents, problems
from milepost.api.access import EVERY_TENANT
from milepost.api.answers import answer
from milepost.api.context import Context
from milepost.api.guard import GuardedRoute
from milepost.api.pages import Pages
from milepost.api.parameters import ExecutionIdInPath, ExecutionPageQuery, Parts, TenantInQuery
from milepost.api.problems import RECORD_ARCHIVED, UNKNOWN_RECORD, Problem
from milepost.api.views import Found, archived, find, require, unknown, whole
from milepost.projections import queries
from milepost.projections.explain import NotInLog, explain
from milepost.projections.queries import ArchivedMonth
from milepost.schemas.values import BIGINT

router: Final = APIRouter(route_class=GuardedRoute, tags=["history"])

_PROBLEMS: Final = (
    problems.UNKNOWN_EXECUTION, problems.INVALID_REQUEST, problems.DATABASE_UNAVAILABLE,
)  # fmt: skip
_PAGE_PROBLEMS: Final = (*_PROBLEMS, problems.INVALID_PAGE_TOKEN)
_Ordinal = Annotated[int, Field(ge=0, lt=BIGINT)]
_events_pages: Final = Pages[int]("events", _Ordinal)


@router.get(
    "/executions/{execution_id}/transitions",
    response_class=Response,
    responses={200: {"model": documents.Transitions}, **problems.responses(*_PROBLEMS)},
)
async def list_transitions(
    parts: Parts, execution_id: ExecutionIdInPath, tenant: TenantInQuery = None
) -> Response:
    """Every state that the execution has been in, with the times of entering it and its record."""
    found = await _found(parts, execution_id, tenant)
    items = [
        transition | {"record": _record(execution_id, transition, tenant)}
        for transition in found.view()["transitions"]
    ]
    return answer({**whole(parts, found), "items": items})


@router.get(
    "/executions/{execution_id}/resources",
    response_class=Response,
    responses={200: {"model": documents.ExecutionResources}, **problems.responses(*_PROBLEMS)},
)
async def list_resources(
    parts: Parts, execution_id: ExecutionIdInPath, tenant: TenantInQuery = None
) -> Response:
    """The resources that the execution made, changed, released or left behind."""
    found = await _found(parts, execution_id, tenant)
    return answer({**whole(parts, found), "items": found.view()["resources"]})


async def _found(parts: Context, execution_id: str, tenant: str | None) -> Found:
    found = await find(parts, execution_id, tenant)
    if found is None:
        raise unknown(execution_id)
    return found


def _record(execution_id: str, transition: dict[str, Any], tenant: str | None) -> str | None:
    """The path of the raw record of a transition; None where it has none yet."""
    if transition["partition"] is None:
        return None
    place = f"{transition['partition']}/{transition['offset']}"
    path = f"/v1/executions/{execution_id}/events/{place}"
    return path if tenant is None else f"{path}?tenant={tenant}"


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
        gone = await queries.archived_part(connection, execution_id, found.tenant)
    page, token = _events_pages.cut(rows, query.page_size, lambda row: row.ordinal, question)
    return answer(
        {
            **whole(parts, found),
            "archived": archived(gone),
            "items": [row._asdict() for row in page],
            "next_page_token": token,
        }
    )


@router.get(
    "/executions/{execution_id}/events/{partition}/{offset}",
    response_class=Response,
    responses={
        200: {"model": documents.ExplainedRecord},
        **problems.responses(*_PROBLEMS, problems.UNKNOWN_RECORD, problems.RECORD_ARCHIVED),
    },
)
async def explain_event(
    parts: Parts,
    execution_id: ExecutionIdInPath,
    partition: Annotated[int, Path(ge=0, lt=2**31)],
    offset: Annotated[int, Path(ge=0, lt=BIGINT)],
    tenant: TenantInQuery = None,
) -> Response:
    """One raw record of the execution on the events topic, what the fold did with it, and why."""
    async with parts.database.acting_for(tenant or EVERY_TENANT) as connection:
        found = await require(connection, parts, execution_id, tenant)
        try:
            explained = await explain(connection, parts.topic, partition, offset)
        except NotInLog as error:
            kept = await queries.archived_place(connection, parts.topic, partition, offset)
            if kept is not None:
                raise _record_archived(partition, offset, kept) from None
            raise Problem(UNKNOWN_RECORD, str(error)) from None
    if (explained.execution_id, explained.tenant) != (execution_id, found.tenant):
        # Whose it is, is not for this execution's readers.
        detail = f"The record {partition}/{offset} is not of execution {execution_id}."
        raise Problem(UNKNOWN_RECORD, detail)
    return answer(explained._asdict())


def _record_archived(partition: int, offset: int, kept: ArchivedMonth) -> Problem:
    return Problem(
        RECORD_ARCHIVED,
        f"The offset {partition}/{offset} is in {kept.month}, which was archived: {kept.file} has its"
        " record, if it is of this execution. `milepost audit export` writes what is known of one.",
    )
