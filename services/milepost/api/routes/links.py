"""How an execution relates to others, seen from it and seen from them."""

from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import StringConstraints

from milepost.api import documents, problems
from milepost.api.access import EVERY_TENANT
from milepost.api.answers import answer
from milepost.api.guard import GuardedRoute
from milepost.api.pages import Pages
from milepost.api.parameters import ExecutionIdInPath, ExecutionPageQuery, Parts
from milepost.api.views import require, whole
from milepost.projections import queries
from milepost.projections.queries import LinkedExecution, LinkKey
from milepost.schemas.values import EARLIEST, Links, Timestamp

router: Final = APIRouter(route_class=GuardedRoute, tags=["history"])

_Relation = Annotated[str, StringConstraints(pattern=f"^({'|'.join(Links.model_fields)})$")]
_pages: Final = Pages[LinkKey]("links", tuple[Timestamp, UUID, _Relation])
_BEFORE_ALL: Final[LinkKey] = (EARLIEST, UUID(int=0), "")


@router.get(
    "/executions/{execution_id}/links",
    response_class=Response,
    responses={
        200: {"model": documents.ExecutionLinks},
        **problems.responses(
            problems.UNKNOWN_EXECUTION,
            problems.INVALID_REQUEST,
            problems.INVALID_PAGE_TOKEN,
            problems.DATABASE_UNAVAILABLE,
        ),
    },
)
async def list_links(
    parts: Parts, execution_id: ExecutionIdInPath, query: Annotated[ExecutionPageQuery, Query()]
) -> Response:
    """The executions that this one names in its links, and those that name this one in theirs."""
    question = {"execution_id": execution_id, **query.question()}
    after = _BEFORE_ALL
    if query.page_token is not None:
        after = _pages.after(query.page_token, question)
    async with parts.database.acting_for(query.tenant or EVERY_TENANT) as connection:
        found = await require(connection, parts, execution_id, query.tenant)
        links = dict(found.view()["links"])
        workflow_id = links.pop("workflow_id", None)
        outgoing = await queries.linked_states(connection, found.tenant, list(links.items()))
        rows = await queries.linking_executions(
            connection, found.tenant, execution_id, after=after, limit=query.page_size + 1
        )
    page, token = _pages.cut(rows, query.page_size, _key, question)
    return answer(
        {
            **whole(parts, found),
            "workflow_id": workflow_id,
            "outgoing": [_end(one) for one in outgoing],
            "incoming": [_end(one) for one in page],
            "next_page_token": token,
        }
    )


def _key(row: LinkedExecution) -> LinkKey:
    assert row.first_recorded_at is not None, "only known executions name others"
    return row.first_recorded_at, row.execution_id, row.relation


def _end(linked: LinkedExecution) -> dict[str, object]:
    return {
        "relation": linked.relation,
        "execution_id": str(linked.execution_id),
        "operation": linked.operation,
        "state": linked.state,
    }
