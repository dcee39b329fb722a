"""Many executions by their ids, in one request."""

from typing import Any, Final

from fastapi import APIRouter, Response

from milepost.api import documents, problems
from milepost.api.access import EVERY_TENANT
from milepost.api.answers import answer, freshness
from milepost.api.bodies import StrictRoute
from milepost.api.parameters import Parts, TenantInQuery
from milepost.api.views import pending, shown
from milepost.projections import queries
from milepost.projections.queries import HeldExecution, LeftOut, Request

router: Final = APIRouter(route_class=StrictRoute, tags=["executions"])


@router.post(
    "/executions:lookup",
    response_class=Response,
    responses={
        200: {"model": documents.FoundExecutions},
        **problems.responses(*problems.OF_BODIES, problems.DATABASE_UNAVAILABLE),
    },
)
async def look_up_executions(
    parts: Parts, body: documents.ExecutionIds, tenant: TenantInQuery = None
) -> Response:
    """The executions that these ids name, each once and in the order of the ids; and the ids that name
    none, or none that the caller may see. Where they are too large for one answer, `left_out` has the
    ids to ask for again."""
    ids = list(dict.fromkeys(body.ids))
    async with parts.database.acting_for(tenant or EVERY_TENANT) as connection:
        found = await queries.executions_named(connection, ids, tenant, parts.heartbeats)
        lag = await queries.lag(connection, parts.topic)
    return answer(
        {
            "items": [_view(one) for one in found if isinstance(one, HeldExecution | Request)],
            "unknown": [id_ for id_, one in zip(ids, found, strict=True) if one is None],
            "left_out": [
                id_ for id_, one in zip(ids, found, strict=True) if isinstance(one, LeftOut)
            ],
            "freshness": freshness(lag, parts.now()),
        }
    )


def _view(found: HeldExecution | Request) -> dict[str, Any]:
    return pending(found) if isinstance(found, Request) else shown(found.body, found.silence)
