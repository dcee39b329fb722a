"""What one tenant has, in counts."""

from datetime import datetime
from typing import Final
from uuid import UUID

from fastapi import APIRouter, Response

from milepost.api import documents, problems
from milepost.api.answers import answer, freshness
from milepost.api.guard import GuardedRoute
from milepost.api.parameters import Parts, TenantInPath
from milepost.projections import queries
from milepost.projections.queries import Summary
from milepost.schemas.values import State

router: Final = APIRouter(route_class=GuardedRoute, tags=["tenants"])


@router.get(
    "/tenants/{tenant}",
    response_class=Response,
    responses={
        200: {"model": documents.TenantSummary},
        **problems.responses(problems.INVALID_REQUEST, problems.DATABASE_UNAVAILABLE),
    },
)
async def read_tenant(parts: Parts, tenant: TenantInPath) -> Response:
    """How many executions a tenant has in each state, the last to succeed, the last to fail and why,
    and how many resources it has now."""
    async with parts.database.acting_for(tenant) as connection:
        summary = await queries.tenant_summary(connection, tenant)
        in_use = await queries.resources_in_use(connection, tenant)
        lag = await queries.lag(connection, parts.topic)
    counts = summary._asdict()
    return answer(
        {
            "tenant": tenant,
            "executions": {state.value: counts[state.value] for state in State},
            "in_flight": summary.pending + summary.running,
            "last_success": _latest(summary.last_success, summary.last_success_at),
            "last_failure": _last_failure(summary),
            "resources_in_use": in_use,
            "freshness": freshness(lag, parts.now()),
        }
    )


def _last_failure(summary: Summary) -> dict[str, object] | None:
    latest = _latest(summary.last_failure, summary.last_failure_at)
    if latest is None:
        return None
    return latest | {"code": summary.last_failure_code, "message": summary.last_failure_message}


def _latest(execution_id: UUID | None, ended_at: datetime | None) -> dict[str, object] | None:
    if execution_id is None:
        return None
    return {"execution_id": str(execution_id), "ended_at": ended_at}
