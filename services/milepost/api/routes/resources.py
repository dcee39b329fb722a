"""Resources: what a tenant has, what was left behind, and what became of one over time."""

from collections.abc import Sequence
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import StringConstraints

from milepost.api import documents, problems
from milepost.api.access import EVERY_TENANT
from milepost.api.answers import answer, freshness
from milepost.api.context import Context
from milepost.api.guard import GuardedRoute
from milepost.api.pages import Pages
from milepost.api.parameters import PageQuery, Parts, TenantInPath
from milepost.projections import queries
from milepost.projections.queries import (
    PartitionLag,
    ReportedResource,
    ResourceHistoryKey,
    TenantResourceKey,
)
from milepost.schemas.values import EARLIEST, Region, ResourceId, Timestamp, Word

router: Final = APIRouter(route_class=GuardedRoute, tags=["resources"])

_NOBODY: Final = UUID(int=0)
_FIRST: Final[TenantResourceKey] = ("", "", "", "", _NOBODY)
# A part of a key, which may be empty: bounded as the contract bounds it, and without NUL.
_Part = Annotated[str, StringConstraints(max_length=512, pattern=r"^[^\x00]*$")]
_KEY: Final = tuple[_Part, _Part, _Part, _Part, UUID]
_tenant_pages: Final = Pages[TenantResourceKey]("tenant-resources", _KEY)
_orphan_pages: Final = Pages[TenantResourceKey]("orphans", _KEY)
_history_pages: Final = Pages[ResourceHistoryKey](
    "resources", tuple[Timestamp, _Part, _Part, _Part, UUID]
)
_PROBLEMS: Final = problems.responses(
    problems.INVALID_PAGE_TOKEN, problems.INVALID_REQUEST, problems.DATABASE_UNAVAILABLE
)
_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    200: {"model": documents.Resources},
    **_PROBLEMS,
}


class TenantResourcesQuery(PageQuery):
    """Which of a tenant's resources."""

    kind: Word | None = None
    released: bool | None = None


class ResourceQuery(PageQuery):
    """Which resource."""

    kind: Word
    id: ResourceId
    provider: Word | None = None
    region: Region | None = None


@router.get("/tenants/{tenant}/resources", response_class=Response, responses=_RESPONSES)
async def list_tenant_resources(
    parts: Parts, tenant: TenantInPath, query: Annotated[TenantResourcesQuery, Query()]
) -> Response:
    """The resources that a tenant's executions made, changed or released: one item for each
    execution that reports a resource."""
    question = {"tenant": tenant, **query.question()}
    after = _after(_tenant_pages, query, question)
    async with parts.database.acting_for(tenant) as connection:
        rows = await queries.tenant_resources(
            connection,
            tenant,
            after=after,
            limit=query.page_size + 1,
            kind=query.kind,
            released=query.released,
        )
        lag = await queries.lag(connection, parts.topic)
    page, token = _tenant_pages.cut(rows, query.page_size, _key, question)
    return _page(parts, [_item(row) for row in page], token, lag)


@router.get("/tenants/{tenant}/orphans", response_class=Response, responses=_RESPONSES)
async def list_orphans(
    parts: Parts, tenant: TenantInPath, query: Annotated[PageQuery, Query()]
) -> Response:
    """The resources that failed and cancelled executions of a tenant left behind: no execution has
    reported on them since, neither that they are released nor that they are in use again."""
    question = {"tenant": tenant, **query.question()}
    after = _after(_orphan_pages, query, question)
    async with parts.database.acting_for(tenant) as connection:
        rows = await queries.orphans(connection, tenant, after=after, limit=query.page_size + 1)
        lag = await queries.lag(connection, parts.topic)
    page, token = _orphan_pages.cut(rows, query.page_size, _key, question)
    return _page(parts, [_item(row) for row in page], token, lag)


@router.get(
    "/resources",
    response_class=Response,
    responses={200: {"model": documents.ResourceHistory}, **_PROBLEMS},
)
async def look_up_resource(parts: Parts, query: Annotated[ResourceQuery, Query()]) -> Response:
    """What became of a resource: the executions that made, changed and released it, and whose they
    are, in the order of their last reports on it."""
    question = query.question()
    after: ResourceHistoryKey = (EARLIEST, "", "", "", _NOBODY)
    if query.page_token is not None:
        after = _history_pages.after(query.page_token, question)
    async with parts.database.acting_for(EVERY_TENANT) as connection:
        rows = await queries.resource_history(
            connection,
            query.kind,
            query.id,
            after=after,
            limit=query.page_size + 1,
            provider=query.provider,
            region=query.region,
        )
        lag = await queries.lag(connection, parts.topic)
    page, token = _history_pages.cut(rows, query.page_size, _history_key, question)
    return _page(parts, [_item(row) | {"action": row.action} for row in page], token, lag)


def _history_key(row: ReportedResource) -> ResourceHistoryKey:
    return row.occurred_at, row.tenant, row.own_provider, row.region, row.execution_id


def _after(
    pages: Pages[TenantResourceKey], query: PageQuery, question: dict[str, Any]
) -> TenantResourceKey:
    return _FIRST if query.page_token is None else pages.after(query.page_token, question)


def _key(last: ReportedResource) -> TenantResourceKey:
    return (last.own_provider, last.region, last.kind, last.id, last.execution_id)


def _page(
    parts: Context, items: list[dict[str, Any]], token: str | None, lag: Sequence[PartitionLag]
) -> Response:
    return answer(
        {"items": items, "next_page_token": token, "freshness": freshness(lag, parts.now())}
    )


def _item(row: ReportedResource) -> dict[str, Any]:
    item = row._asdict()
    for internal in ("own_provider", "action"):
        del item[internal]
    return {**item, "execution_id": str(row.execution_id), "region": row.region or None}
