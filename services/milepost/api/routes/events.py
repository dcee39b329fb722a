"""Events of providers that do not speak Kafka: CloudEvents over HTTP to the events topic."""

import asyncio
from typing import Final

from fastapi import APIRouter, Request, Response

from milepost.api import documents, problems
from milepost.api.answers import answer
from milepost.api.bodies import StrictRoute
from milepost.api.broker import require_size
from milepost.api.cloudevents import BATCH_TYPE, BINARY_TYPE, MAX_BATCH, STRUCTURED_TYPE, read
from milepost.api.context import Context
from milepost.api.parameters import Parts
from milepost.api.views import pending, shown
from milepost.projections import queries
from milepost.projections.queries import HeldExecution, LeftOut
from milepost.projections.queries import Request as NotedRequest
from milepost.schemas.binding import Event
from milepost.schemas.events import Requested

router: Final = APIRouter(route_class=StrictRoute, tags=["events"])

_EXECUTION: Final = "2f5d9f0e-5f5c-5c55-8a53-0b7a8f2e0f11"
_ATTRIBUTES: Final = {
    "specversion": "1.0",
    "id": "1",
    "source": "/providers/ecs/eu-west-1",
    "type": "milepost.execution.started.v1",
    "time": "2026-01-15T09:30:05Z",
    "subject": _EXECUTION,
    "tenantid": "acme",
}
_DATA: Final = {"occurred_at": "2026-01-15T09:30:04Z"}
_EVENT: Final = {**_ATTRIBUTES, "data": _DATA}
_OBJECT: Final = {"type": "object"}
# FastAPI describes bodies that it reads itself; this one is read here, byte for byte.
_DESCRIBED: Final = {
    "parameters": [
        {
            "in": "header",
            "name": f"ce-{name}",
            "required": False,
            "schema": {"type": "string"},
            "description": f"Binary mode: the attribute `{name}`.",
        }
        for name in (*_ATTRIBUTES, "sequence", "traceparent")
    ],
    "requestBody": {
        "required": True,
        "description": "CloudEvents of Milepost's types; `schemas/published/events/` has their data.",
        "content": {
            STRUCTURED_TYPE: {
                "schema": {**_OBJECT, "required": [*_ATTRIBUTES, "data"]},
                "example": _EVENT,
            },
            BATCH_TYPE: {
                "schema": {"type": "array", "minItems": 1, "maxItems": MAX_BATCH, "items": _OBJECT},
                "example": [_EVENT],
            },
            BINARY_TYPE: {"schema": _OBJECT, "example": _DATA},
        },
    },
}


@router.post(
    "/events",
    status_code=202,
    response_class=Response,
    openapi_extra=_DESCRIBED,
    responses={
        202: {
            "model": documents.PublishedEvents,
            "description": "Every in-sync replica of the broker has them.",
        },
        **problems.responses(
            *problems.OF_BODIES, problems.DATABASE_UNAVAILABLE, problems.BROKER_UNAVAILABLE
        ),
    },
)
async def publish_events(parts: Parts, request: Request) -> Response:
    """Publish what happened: one CloudEvent or a batch, all of them or, where one is not valid, none.

    An event that is published again under the same `source` and `id` has no effect: after any answer of
    503, publish all of them again.
    """
    received = await read(request)
    for one in received:
        parts.scope.require(one.event.tenant)
        require_size(one.record)
    await _require_providers(parts, [one.event for one in received])
    published = await asyncio.gather(
        *(parts.broker.publish(one.record, one.event.tenant) for one in received)
    )
    items = [
        {"execution_id": one.event.execution_id, "tenant": one.event.tenant, **place._asdict()}
        for one, place in zip(received, published, strict=True)
    ]
    return answer({"items": items}, 202)


async def _require_providers(parts: Context, events: list[Event]) -> None:
    """Raise Problem (403) where the caller is limited to providers, and one of these events is of
    another's execution, or of one that is not known."""
    if parts.scope.principal.providers is None:
        return
    owners: dict[tuple[str, str], str | None] = {}
    for event in events:
        if isinstance(event.data, Requested):
            parts.scope.require_provider(event.data.provider)
            owners[event.tenant, event.execution_id] = event.data.provider
    for tenant in {event.tenant for event in events}:
        ids = [event.execution_id for event in events if event.tenant == tenant]
        async with parts.database.acting_for(tenant) as connection:
            known = await _providers(connection, tenant, ids)
        # What is known counts more than what a request in this batch says.
        owners |= {(tenant, id_): provider for id_, provider in known.items()}
    for event in events:
        parts.scope.require_provider(owners.get((event.tenant, event.execution_id)))


async def _providers(
    connection: queries.Connection, tenant: str, ids: list[str]
) -> dict[str, str | None]:
    """The providers of those that are known."""
    providers: dict[str, str | None] = {}
    while ids:
        found = dict(zip(ids, await queries.executions_named(connection, ids, tenant), strict=True))
        ids = [id_ for id_, one in found.items() if isinstance(one, LeftOut)]
        providers |= {
            id_: _provider(one)
            for id_, one in found.items()
            if isinstance(one, HeldExecution | NotedRequest)
        }
    return providers


def _provider(known: HeldExecution | NotedRequest) -> str | None:
    view = pending(known) if isinstance(known, NotedRequest) else shown(known.body, known.silence)
    provider: str | None = view["provider"]
    return provider
