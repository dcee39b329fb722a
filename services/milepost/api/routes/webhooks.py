"""Webhook endpoints of a tenant: make, look at, change, delete; their secrets; a test message."""

from datetime import datetime
from typing import Annotated, Any, Final
from uuid import UUID, uuid4

from fastapi import APIRouter, Query, Response

from milepost.api import problems, webhook_documents
from milepost.api.answers import answer
from milepost.api.bodies import StrictRoute
from milepost.api.pages import Pages
from milepost.api.parameters import PageQuery, Parts, TenantInPath
from milepost.api.problems import Problem
from milepost.api.webhook_secrets import opened, rotate, sealed
from milepost.api.webhook_urls import require_url
from milepost.api.webhook_views import (
    EndpointIdInPath,
    delivery_document,
    held,
    held_enabled,
    secret_document,
    unknown_endpoint,
    webhook_document,
)
from milepost.projections import endpoints
from milepost.projections.endpoints import Endpoint, Key
from milepost.schemas.values import EARLIEST, Timestamp
from milepost.schemas.webhooks import WebhookTest, new_secret, notice_payload

router: Final = APIRouter(
    prefix="/tenants/{tenant}/webhooks", route_class=StrictRoute, tags=["webhooks"]
)

# Each completion is looked at for every endpoint of its tenant.
MAX_ENDPOINTS: Final = 50
_FIRST: Final = (EARLIEST, UUID(int=0))
_pages: Final = Pages[Key]("webhooks", tuple[Timestamp, UUID])
# Whoever keeps answers must not keep those with a secret.
_NOT_KEPT: Final = {"Cache-Control": "no-store"}
_PROBLEMS: Final = (
    problems.UNKNOWN_WEBHOOK, problems.INVALID_REQUEST, problems.DATABASE_UNAVAILABLE,
)  # fmt: skip


@router.post(
    "",
    status_code=201,
    response_class=Response,
    responses={
        201: {"model": webhook_documents.NewWebhook, "description": "Made. Keep the secret."},
        **problems.responses(
            *problems.OF_BODIES,
            problems.INVALID_WEBHOOK_URL,
            problems.TOO_MANY_WEBHOOKS,
            problems.WEBHOOKS_NOT_CONFIGURED,
            problems.DATABASE_UNAVAILABLE,
        ),
    },
)
async def create_webhook(
    parts: Parts, tenant: TenantInPath, body: webhook_documents.WebhookRequest
) -> Response:
    """Make an endpoint. It is told of completions from now on, signed after Standard Webhooks with
    the secret in the answer."""
    require_url(body.url, parts.settings.webhook_allowed_networks)
    secret = body.secret.get_secret_value() if body.secret else new_secret()
    ciphertext, now = sealed(parts.settings, secret), parts.now()
    new = Endpoint(
        endpoint_id=uuid4(),
        url=body.url,
        description=body.description,
        states=sorted(body.states),
        operations=_sorted(body.operations),
        created_at=now,
        updated_at=now,
    )
    async with parts.database.writing_for(tenant) as connection:
        if not await endpoints.create(connection, tenant, new, most=MAX_ENDPOINTS):
            detail = f"Tenant {tenant} has {MAX_ENDPOINTS} endpoints. Delete one of them first."
            raise Problem(problems.TOO_MANY_WEBHOOKS, detail)
        await endpoints.add_secret(connection, tenant, new.endpoint_id, uuid4(), ciphertext, now)
    place = {"Location": f"/v1/tenants/{tenant}/webhooks/{new.endpoint_id}"}
    return answer(webhook_document(new) | {"secret": secret}, 201, place | _NOT_KEPT)


@router.get(
    "",
    response_class=Response,
    responses={
        200: {"model": webhook_documents.Webhooks},
        **problems.responses(
            problems.INVALID_PAGE_TOKEN, problems.INVALID_REQUEST, problems.DATABASE_UNAVAILABLE
        ),
    },
)
async def list_webhooks(
    parts: Parts, tenant: TenantInPath, query: Annotated[PageQuery, Query()]
) -> Response:
    """A tenant's endpoints, the oldest first."""
    question = {"tenant": tenant, **query.question()}
    after = _FIRST if query.page_token is None else _pages.after(query.page_token, question)
    async with parts.database.acting_for(tenant) as connection:
        rows = await endpoints.page(connection, tenant, after=after, limit=query.page_size + 1)
    page, token = _pages.cut(
        rows, query.page_size, lambda row: (row.created_at, row.endpoint_id), question
    )
    return answer({"items": [webhook_document(row) for row in page], "next_page_token": token})


@router.get(
    "/{endpoint_id}",
    response_class=Response,
    responses={200: {"model": webhook_documents.Webhook}, **problems.responses(*_PROBLEMS)},
)
async def read_webhook(
    parts: Parts, tenant: TenantInPath, endpoint_id: EndpointIdInPath
) -> Response:
    """One endpoint: what it is told of, and whether it is."""
    async with parts.database.acting_for(tenant) as connection:
        found = await endpoints.read(connection, tenant, UUID(endpoint_id))
    if found is None:
        raise unknown_endpoint(endpoint_id)
    return answer(webhook_document(found))


@router.patch(
    "/{endpoint_id}",
    response_class=Response,
    responses={
        200: {"model": webhook_documents.Webhook},
        **problems.responses(
            problems.UNKNOWN_WEBHOOK,
            *problems.OF_BODIES,
            problems.INVALID_WEBHOOK_URL,
            problems.DATABASE_UNAVAILABLE,
        ),
    },
)
async def change_webhook(
    parts: Parts,
    tenant: TenantInPath,
    endpoint_id: EndpointIdInPath,
    body: webhook_documents.WebhookChange,
) -> Response:
    """Change an endpoint, enable or disable it. What is not named stays as it is.

    Completions while it is disabled are not sent later.
    """
    if "url" in body.model_fields_set:
        require_url(body.url, parts.settings.webhook_allowed_networks)
    now = parts.now()
    async with parts.database.writing_for(tenant) as connection:
        old = await held(connection, tenant, endpoint_id)
        new = _changed(old, body, now)
        if new != old:
            new = new._replace(updated_at=now)
            await endpoints.change(connection, tenant, old, new, now)
    return answer(webhook_document(new))


@router.delete(
    "/{endpoint_id}",
    status_code=204,
    response_class=Response,
    responses={
        204: {"description": "Deleted. What was waiting is cancelled, what was sent stays listed."},
        **problems.responses(*_PROBLEMS),
    },
)
async def delete_webhook(
    parts: Parts, tenant: TenantInPath, endpoint_id: EndpointIdInPath
) -> Response:
    """Delete an endpoint and its secrets."""
    async with parts.database.writing_for(tenant) as connection:
        if not await endpoints.delete(connection, tenant, UUID(endpoint_id), parts.now()):
            raise unknown_endpoint(endpoint_id)
    return Response(status_code=204)


@router.get(
    "/{endpoint_id}/secret",
    response_class=Response,
    responses={
        200: {"model": webhook_documents.WebhookSecret},
        **problems.responses(*_PROBLEMS, problems.WEBHOOKS_NOT_CONFIGURED),
    },
)
async def read_webhook_secret(
    parts: Parts, tenant: TenantInPath, endpoint_id: EndpointIdInPath
) -> Response:
    """The secret that messages are signed with, the newest where it was rotated."""
    async with parts.database.acting_for(tenant) as connection:
        found = await endpoints.secrets(connection, tenant, UUID(endpoint_id), parts.now())
    if not found:
        raise unknown_endpoint(endpoint_id)
    secret = opened(parts.settings, found[0].sealed)
    return answer(secret_document(endpoint_id, secret, found), headers=_NOT_KEPT)


@router.post(
    "/{endpoint_id}/secret:rotate",
    response_class=Response,
    responses={
        200: {"model": webhook_documents.WebhookSecret},
        **problems.responses(
            problems.UNKNOWN_WEBHOOK,
            *problems.OF_BODIES,
            problems.TOO_MANY_SECRETS,
            problems.WEBHOOKS_NOT_CONFIGURED,
            problems.DATABASE_UNAVAILABLE,
        ),
    },
)
async def rotate_webhook_secret(
    parts: Parts,
    tenant: TenantInPath,
    endpoint_id: EndpointIdInPath,
    body: webhook_documents.SecretRotation | None = None,
) -> Response:
    """Sign with a new secret, and for a while with the old one as well."""
    asked = body or webhook_documents.SecretRotation()
    secret = asked.secret.get_secret_value() if asked.secret else new_secret()
    ciphertext, now = sealed(parts.settings, secret), parts.now()
    async with parts.database.writing_for(tenant) as connection:
        endpoint = await held(connection, tenant, endpoint_id)
        await rotate(connection, tenant, endpoint, ciphertext, asked.overlap_seconds, now)
        found = await endpoints.secrets(connection, tenant, endpoint.endpoint_id, now)
    return answer(secret_document(endpoint_id, secret, found), headers=_NOT_KEPT)


@router.post(
    "/{endpoint_id}:test",
    status_code=202,
    response_class=Response,
    responses={
        202: {
            "model": webhook_documents.DeliveryAnswer,
            "description": "On its way; `Location` says where to see how it went.",
        },
        **problems.responses(*_PROBLEMS, problems.WEBHOOK_DISABLED),
    },
)
async def test_webhook(
    parts: Parts, tenant: TenantInPath, endpoint_id: EndpointIdInPath
) -> Response:
    """Send a message of the type `milepost.webhook.test.v1` to an endpoint."""
    delivery_id, message_id = uuid4(), f"test_{uuid4()}"
    test = WebhookTest(id=message_id, tenant=tenant, endpoint_id=endpoint_id)
    payload = notice_payload(parts.now(), test)
    async with parts.database.writing_for(tenant) as connection:
        endpoint = await held_enabled(connection, tenant, endpoint_id)
        await endpoints.send_test(
            connection, tenant, endpoint.endpoint_id, delivery_id, message_id, payload
        )
        document = await delivery_document(connection, tenant, delivery_id)
    place = {"Location": f"/v1/tenants/{tenant}/deliveries/{delivery_id}"}
    return answer(document, 202, place)


def _changed(old: Endpoint, body: webhook_documents.WebhookChange, now: datetime) -> Endpoint:
    asked: dict[str, Any] = {name: getattr(body, name) for name in body.model_fields_set}
    was_enabled = old.disabled_at is None
    enabled = asked.pop("enabled", was_enabled)
    for name in {"states", "operations"} & asked.keys():
        asked[name] = _sorted(asked[name])
    new = old._replace(**asked)
    if enabled and not was_enabled:
        return new._replace(disabled_at=None, disabled_reason=None, failing_since=None)
    if was_enabled and not enabled:
        return new._replace(disabled_at=now, disabled_reason=endpoints.ASKED)
    return new


def _sorted(names: frozenset[str] | None) -> list[str] | None:
    return None if names is None else sorted(names)
