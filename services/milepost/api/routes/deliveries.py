"""Webhook deliveries: what was sent to a tenant's endpoints, how it went, and sending it again."""

from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Path, Query, Response

from milepost.api import problems, webhook_documents
from milepost.api.answers import answer, freshness
from milepost.api.bodies import StrictRoute
from milepost.api.pages import Pages
from milepost.api.parameters import PageQuery, Parts, TenantInPath, TimeInQuery
from milepost.api.webhook_views import (
    EndpointIdInPath,
    delivery_document,
    delivery_item,
    held_enabled,
    unknown_delivery,
)
from milepost.projections import endpoints, queries
from milepost.projections.endpoints import Key, Status, Wanted
from milepost.schemas.values import EARLIEST, LATEST, UUID_PATTERN, ExecutionId, Timestamp

router: Final = APIRouter(prefix="/tenants/{tenant}", route_class=StrictRoute, tags=["webhooks"])

# Of one call: it is one transaction, and must be over in seconds.
MAX_REDELIVERED: Final = 10_000
_NEWEST: Final = (LATEST, UUID(int=2**128 - 1))
_pages: Final = Pages[Key]("deliveries", tuple[Timestamp, UUID])
_PROBLEMS: Final = (
    problems.UNKNOWN_DELIVERY, problems.INVALID_REQUEST, problems.DATABASE_UNAVAILABLE,
)  # fmt: skip

DeliveryIdInPath = Annotated[
    str, Path(pattern=UUID_PATTERN, examples=["5c3a2f2e-3d5b-4c58-8a53-7b1a8f2e0f11"])
]


class DeliveriesQuery(PageQuery):
    """Which of a tenant's deliveries."""

    endpoint_id: ExecutionId | None = None
    execution_id: ExecutionId | None = None
    status: Status | None = None
    since: TimeInQuery | None = None
    before: TimeInQuery | None = None

    def wanted(self) -> Wanted:
        """The filters."""
        return Wanted(
            since=self.since or EARLIEST,
            before=self.before or LATEST,
            status=self.status,
            endpoint_id=UUID(self.endpoint_id) if self.endpoint_id else None,
            execution_id=UUID(self.execution_id) if self.execution_id else None,
        )


@router.get(
    "/deliveries",
    response_class=Response,
    responses={
        200: {"model": webhook_documents.Deliveries},
        **problems.responses(
            problems.INVALID_PAGE_TOKEN, problems.INVALID_REQUEST, problems.DATABASE_UNAVAILABLE
        ),
    },
)
async def list_deliveries(
    parts: Parts, tenant: TenantInPath, query: Annotated[DeliveriesQuery, Query()]
) -> Response:
    """What was sent to a tenant's endpoints, the newest first; to deleted ones, too."""
    question = {"tenant": tenant, **query.question()}
    after = _NEWEST if query.page_token is None else _pages.after(query.page_token, question)
    async with parts.database.acting_for(tenant) as connection:
        rows = await endpoints.deliveries(
            connection, tenant, query.wanted(), after=after, limit=query.page_size + 1
        )
        lag = await queries.lag(connection, parts.topic)
    page, token = _pages.cut(
        rows, query.page_size, lambda row: (row.created_at, row.delivery_id), question
    )
    return answer(
        {
            "items": [delivery_item(row) for row in page],
            "next_page_token": token,
            "freshness": freshness(lag, parts.now()),
        }
    )


@router.get(
    "/deliveries/{delivery_id}",
    response_class=Response,
    responses={200: {"model": webhook_documents.DeliveryAnswer}, **problems.responses(*_PROBLEMS)},
)
async def read_delivery(
    parts: Parts, tenant: TenantInPath, delivery_id: DeliveryIdInPath
) -> Response:
    """One delivery: what it sends, and every attempt."""
    async with parts.database.acting_for(tenant) as connection:
        document = await delivery_document(connection, tenant, delivery_id)
    return answer(document)


@router.post(
    "/deliveries/{delivery_id}:redeliver",
    status_code=202,
    response_class=Response,
    responses={
        202: {"model": webhook_documents.DeliveryAnswer, "description": "Due again, at once."},
        **problems.responses(*_PROBLEMS, problems.UNKNOWN_WEBHOOK, problems.WEBHOOK_DISABLED),
    },
)
async def redeliver_delivery(
    parts: Parts, tenant: TenantInPath, delivery_id: DeliveryIdInPath
) -> Response:
    """Send it again, whatever became of it, from the beginning of the schedule."""
    async with parts.database.writing_for(tenant) as connection:
        found = await endpoints.delivery(connection, tenant, UUID(delivery_id))
        if found is None:
            raise unknown_delivery(delivery_id)
        await held_enabled(connection, tenant, found[0].endpoint_id)
        await endpoints.redeliver(connection, tenant, [found[0].delivery_id])
        document = await delivery_document(connection, tenant, delivery_id)
    return answer(document, 202)


@router.post(
    "/webhooks/{endpoint_id}:redeliver",
    status_code=202,
    response_class=Response,
    responses={
        202: {"model": webhook_documents.Redelivered, "description": "Due again, at once."},
        **problems.responses(
            problems.UNKNOWN_WEBHOOK,
            problems.WEBHOOK_DISABLED,
            *problems.OF_BODIES,
            problems.DATABASE_UNAVAILABLE,
        ),
    },
)
async def redeliver_webhook(
    parts: Parts,
    tenant: TenantInPath,
    endpoint_id: EndpointIdInPath,
    body: webhook_documents.Redelivery,
) -> Response:
    """Send again what an endpoint did not get since a time, e.g. after it was away; the oldest first,
    at most 10,000 at a time."""
    async with parts.database.writing_for(tenant) as connection:
        endpoint = await held_enabled(connection, tenant, endpoint_id)
        found = await endpoints.to_redeliver(
            connection,
            tenant,
            endpoint.endpoint_id,
            body.statuses,
            since=body.since,
            before=body.before or LATEST,
            limit=MAX_REDELIVERED + 1,
        )
        again = found[:MAX_REDELIVERED]
        await endpoints.redeliver(connection, tenant, again)
    return answer({"redelivered": len(again), "more": len(found) > len(again)}, 202)
