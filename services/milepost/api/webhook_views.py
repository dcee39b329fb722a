"""Webhook endpoints and deliveries: found, or a problem; and as the API shows them."""

from collections.abc import Sequence
from typing import Annotated, Any, Final
from uuid import UUID

import orjson
from fastapi import Path

from milepost.api.problems import (
    UNKNOWN_DELIVERY,
    UNKNOWN_WEBHOOK,
    WEBHOOK_DISABLED,
    Problem,
)
from milepost.projections import endpoints
from milepost.projections.endpoints import Delivery, Endpoint, SealedSecret
from milepost.projections.queries import Connection
from milepost.schemas.values import UUID_PATTERN

EndpointIdInPath = Annotated[
    str, Path(pattern=UUID_PATTERN, examples=["0b6f0c52-0d1e-4f7a-9a39-6c1f4d0c8f11"])
]
_LAST_ATTEMPT: Final = ("attempted_at", "status_code", "error")


async def held(connection: Connection, tenant: str, endpoint_id: str | UUID) -> Endpoint:
    """An endpoint that nobody else changes until the transaction ends. Raises Problem (404)."""
    found = await endpoints.hold(connection, tenant, UUID(str(endpoint_id)))
    if found is None:
        raise unknown_endpoint(endpoint_id)
    return found


async def held_enabled(connection: Connection, tenant: str, endpoint_id: str | UUID) -> Endpoint:
    """As `held`; raises Problem (409) where nothing is sent to it."""
    found = await held(connection, tenant, endpoint_id)
    if found.disabled_at is not None:
        detail = f"Endpoint {endpoint_id} is disabled ({found.disabled_reason}). Enable it first."
        raise Problem(WEBHOOK_DISABLED, detail)
    return found


def unknown_endpoint(endpoint_id: str | UUID) -> Problem:
    """What to raise where there is no such endpoint."""
    return Problem(UNKNOWN_WEBHOOK, f"No webhook endpoint {endpoint_id} is known.")


def unknown_delivery(delivery_id: str | UUID) -> Problem:
    """What to raise where there is no such delivery."""
    return Problem(UNKNOWN_DELIVERY, f"No webhook delivery {delivery_id} is known.")


def webhook_document(endpoint: Endpoint) -> dict[str, Any]:
    """`webhook_documents.Webhook`."""
    enabled = endpoint.disabled_at is None
    return endpoint._asdict() | {"endpoint_id": str(endpoint.endpoint_id), "enabled": enabled}


def secret_document(endpoint_id: str, secret: str, found: Sequence[SealedSecret]) -> dict[str, Any]:
    """`webhook_documents.WebhookSecret`; `secret` is the first one of those found, opened."""
    newest, *replaced = found
    ends = [one.expires_at for one in replaced if one.expires_at is not None]
    return {
        "endpoint_id": endpoint_id,
        "secret": secret,
        "created_at": newest.created_at,
        "replaced_valid_until": max(ends, default=None),
    }


def delivery_item(delivery: Delivery) -> dict[str, Any]:
    """`webhook_documents.Delivery`."""
    item = delivery._asdict()
    last = {name: item.pop(name) for name in _LAST_ATTEMPT}
    execution_id = None if delivery.execution_id is None else str(delivery.execution_id)
    return item | {
        "delivery_id": str(delivery.delivery_id),
        "endpoint_id": str(delivery.endpoint_id),
        "execution_id": execution_id,
        "last_attempt": None if delivery.attempted_at is None else last,
    }


async def delivery_document(
    connection: Connection, tenant: str, delivery_id: str | UUID
) -> dict[str, Any]:
    """`webhook_documents.DeliveryAnswer`. Raises Problem (404) where there is no such delivery."""
    found = await endpoints.delivery(connection, tenant, UUID(str(delivery_id)))
    if found is None:
        raise unknown_delivery(delivery_id)
    delivery, payload = found
    attempts = await endpoints.attempts(connection, tenant, delivery.delivery_id)
    return delivery_item(delivery) | {
        # As it is sent, byte for byte.
        "payload": orjson.Fragment(payload),
        "history": [attempt._asdict() for attempt in attempts],
    }
