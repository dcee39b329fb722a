"""The audit: what was written, and who was refused."""

from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Query, Response

from milepost.api import access_documents, problems
from milepost.api.access import EVERY_TENANT
from milepost.api.answers import answer
from milepost.api.context import Context
from milepost.api.guard import GuardedRoute
from milepost.api.pages import Pages
from milepost.api.parameters import PageQuery, Parts, TenantInPath
from milepost.projections.queries.access import AuditPlace, audited
from milepost.schemas.values import LATEST, Timestamp

router: Final = APIRouter(route_class=GuardedRoute, tags=["access"])

_pages: Final = Pages[AuditPlace]("audit", tuple[Timestamp, UUID])
_NEWEST: Final[AuditPlace] = (LATEST, UUID(int=2**128 - 1))
_RESPONSES: Final = {
    200: {"model": access_documents.AuditPage},
    **problems.responses(
        problems.INVALID_PAGE_TOKEN, problems.INVALID_REQUEST, problems.DATABASE_UNAVAILABLE
    ),
}


@router.get("/audit", response_class=Response, responses=_RESPONSES)
async def list_audit(parts: Parts, query: Annotated[PageQuery, Query()]) -> Response:
    """What was written and refused for all tenants and for none, the newest first."""
    return await _page(parts, None, query)


@router.get("/tenants/{tenant}/audit", response_class=Response, responses=_RESPONSES)
async def list_tenant_audit(
    parts: Parts, tenant: TenantInPath, query: Annotated[PageQuery, Query()]
) -> Response:
    """What was written for a tenant and refused to its own callers, the newest first."""
    return await _page(parts, tenant, query)


async def _page(parts: Context, tenant: str | None, query: PageQuery) -> Response:
    question = {"tenant": tenant, **query.question()}
    after = _NEWEST if query.page_token is None else _pages.after(query.page_token, question)
    async with parts.database.acting_for(tenant or EVERY_TENANT) as connection:
        rows = await audited(connection, tenant, after=after, limit=query.page_size + 1)
    page, token = _pages.cut(rows, query.page_size, lambda row: (row.at, row.audit_id), question)
    items = [row._asdict() | {"audit_id": str(row.audit_id)} for row in page]
    return answer({"items": items, "next_page_token": token})
