"""Resources: what a tenant has, and which executions a resource belongs to."""

from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import StringConstraints

from milepost.api import documents, problems
from milepost.api.answers import answer, freshness
from milepost.api.database import EVERY_TENANT
from milepost.api.pages import Pages
from milepost.api.parameters import PageQuery, Parts, TenantInPath
from milepost.projections import queries
from milepost.projections.queries import (
    ReportedResource,
    ResourceByIdKey,
    TenantResourceKey,
)
from milepost.schemas.values import ResourceId, Word

router: Final = APIRouter(tags=["resources"])

_NOBODY: Final = UUID(int=0)
# A part of a key, which may be empty: bounded as the contract bounds it, and without NUL.
_Part = Annotated[str, StringConstraints(max_length=512, pattern=r"^[^\x00]*$")]
_tenant_pages: Final = Pages[TenantResourceKey](
    "tenant-resources", tuple[_Part, _Part, _Part, _Part, UUID]
)
_id_pages: Final = Pages[ResourceByIdKey]("resources", tuple[_Part, _Part, _Part, UUID])
_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    200: {"model": documents.Resources},
    **problems.responses(
        problems.INVALID_PAGE_TOKEN, problems.INVALID_REQUEST, problems.DATABASE_UNAVAILABLE
    ),
}


class TenantResourcesQuery(PageQuery):
    """Which of a tenant's resources."""

    kind: Word | None = None
    released: bool | None = None


class ResourcesQuery(PageQuery):
    """Which resource."""

    kind: Word
    id: ResourceId


@router.get("/tenants/{tenant}/resources", response_class=Response, responses=_RESPONSES)
async def list_tenant_resources(
    parts: Parts, tenant: TenantInPath, query: Annotated[TenantResourcesQuery, Query()]
) -> Response:
    """The resources that a tenant's executions made, changed or released: one item for each
    execution that reports a resource."""
    question = {"tenant": tenant, **query.question()}
    after: TenantResourceKey = ("", "", "", "", _NOBODY)
    if query.page_token is not None:
        after = _tenant_pages.after(query.page_token, question)
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
    page = rows[: query.page_size]
    token = None
    if len(rows) > len(page):
        last = page[-1]
        key = (last.own_provider, last.region, last.kind, last.id, last.execution_id)
        token = _tenant_pages.token(key, question)
    return answer(
        {
            "items": [_item(row) for row in page],
            "next_page_token": token,
            "freshness": freshness(lag, parts.now()),
        }
    )


@router.get("/resources", response_class=Response, responses=_RESPONSES)
async def look_up_resource(parts: Parts, query: Annotated[ResourcesQuery, Query()]) -> Response:
    """Which executions, of which tenants, report the resource of this kind and id."""
    question = query.question()
    after: ResourceByIdKey = ("", "", "", _NOBODY)
    if query.page_token is not None:
        after = _id_pages.after(query.page_token, question)
    async with parts.database.acting_for(EVERY_TENANT) as connection:
        rows = await queries.resources_by_id(
            connection, query.kind, query.id, after=after, limit=query.page_size + 1
        )
        lag = await queries.lag(connection, parts.topic)
    page = rows[: query.page_size]
    token = None
    if len(rows) > len(page):
        last = page[-1]
        key = (last.tenant, last.own_provider, last.region, last.execution_id)
        token = _id_pages.token(key, question)
    return answer(
        {
            "items": [_item(row) for row in page],
            "next_page_token": token,
            "freshness": freshness(lag, parts.now()),
        }
    )


def _item(row: ReportedResource) -> dict[str, Any]:
    item = row._asdict()
    del item["own_provider"]
    return {**item, "execution_id": str(row.execution_id), "region": row.region or None}
