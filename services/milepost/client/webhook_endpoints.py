"""Managing webhooks through the HTTP API: endpoints, their secrets, what was sent to them."""

from collections.abc import AsyncIterator, Collection
from datetime import datetime
from typing import Any, Final

from pydantic import BaseModel, SecretStr

from milepost.client.calls import Calls, given, quoted
from milepost.schemas.notifications import OPEN

# Stands for what is not to be changed, as None is a value.
_AS_IT_IS: Final[Any] = object()


class WebhookEndpoint(BaseModel):
    """Where a tenant's completions go, and which of them; `operations` None: whatever the operation.

    `disabled_reason`: asked, gone (it answered 410) or failing. `failing_since`: nothing sent to it
    has arrived since. `secret` is there only where the endpoint was just made.
    """

    model_config = OPEN
    endpoint_id: str
    url: str
    description: str | None = None
    states: tuple[str, ...]
    operations: tuple[str, ...] | None = None
    enabled: bool
    disabled_at: datetime | None = None
    disabled_reason: str | None = None
    failing_since: datetime | None = None
    created_at: datetime
    updated_at: datetime
    secret: SecretStr | None = None


class WebhookSecret(BaseModel):
    """The newest signing secret of an endpoint, and until when those that it replaced are valid."""

    model_config = OPEN
    endpoint_id: str
    secret: SecretStr
    created_at: datetime
    replaced_valid_until: datetime | None = None


class WebhookAttempt(BaseModel):
    """One attempt to send: the status of the answer and the beginning of its body, or an error."""

    model_config = OPEN
    attempted_at: datetime
    status_code: int | None = None
    error: str | None = None
    duration_seconds: float | None = None
    answer: str | None = None


class WebhookDelivery(BaseModel):
    """One message for one endpoint; `message_id` is the header `webhook-id`.

    `status`: pending, delivered, failed or cancelled. `attempts`: those since it was created or last
    redelivered. `payload` and `history` (every attempt) are there where one delivery was asked for.
    """

    model_config = OPEN
    delivery_id: str
    endpoint_id: str
    message_id: str
    type: str
    execution_id: str | None = None
    status: str
    attempts: int
    created_at: datetime
    due_at: datetime | None = None
    ended_at: datetime | None = None
    last_attempt: WebhookAttempt | None = None
    payload: dict[str, Any] | None = None
    history: tuple[WebhookAttempt, ...] = ()


class WebhookRedelivery(BaseModel):
    """How many deliveries are due again; `more`: there are others, ask again for them."""

    model_config = OPEN
    redelivered: int
    more: bool


class WebhookEndpoints:
    """The webhooks of tenants: `MilepostClient.webhooks`, with its errors."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def create(
        self,
        tenant: str,
        url: str,
        *,
        states: Collection[str] | None = None,
        operations: Collection[str] | None = None,
        description: str | None = None,
        secret: str | None = None,
    ) -> WebhookEndpoint:
        """Make an endpoint; its `secret`, by default a random one, is for your WebhookVerifier.

        States are succeeded, failed and cancelled; by default it is told of all.
        """
        body = {
            "url": url,
            "states": _list(states),
            "operations": _list(operations),
            "description": description,
            "secret": secret,
        }
        answer = await self._calls.send("POST", _path(tenant), body=given(body))
        return self._calls.parse(WebhookEndpoint, answer)

    async def endpoints(self, tenant: str) -> list[WebhookEndpoint]:
        """A tenant's endpoints, the oldest first."""
        return [one async for one in self._calls.pages(WebhookEndpoint, _path(tenant), {})]

    async def endpoint(self, tenant: str, endpoint_id: str) -> WebhookEndpoint:
        """One endpoint."""
        return await self._calls.get(WebhookEndpoint, _path(tenant, endpoint_id), {})

    async def change(
        self,
        tenant: str,
        endpoint_id: str,
        *,
        url: str = _AS_IT_IS,
        states: Collection[str] = _AS_IT_IS,
        operations: Collection[str] | None = _AS_IT_IS,
        description: str | None = _AS_IT_IS,
        enabled: bool = _AS_IT_IS,
    ) -> WebhookEndpoint:
        """Change what is given. None takes the description, or the limit to some operations, away.

        An endpoint that is not enabled is sent nothing, and what was waiting is cancelled.
        """
        body = {
            "url": url,
            "states": _list(states),
            "operations": _list(operations),
            "description": description,
            "enabled": enabled,
        }
        body = {name: value for name, value in body.items() if value is not _AS_IT_IS}
        answer = await self._calls.send("PATCH", _path(tenant, endpoint_id), body=body)
        return self._calls.parse(WebhookEndpoint, answer)

    async def delete(self, tenant: str, endpoint_id: str) -> None:
        """Delete an endpoint; what was sent to it stays in the list of deliveries."""
        await self._calls.send("DELETE", _path(tenant, endpoint_id))

    async def secret(self, tenant: str, endpoint_id: str) -> WebhookSecret:
        """The secret that messages are signed with, the newest where it was rotated."""
        return await self._calls.get(WebhookSecret, f"{_path(tenant, endpoint_id)}/secret", {})

    async def rotate_secret(
        self,
        tenant: str,
        endpoint_id: str,
        *,
        overlap_seconds: int | None = None,
        secret: str | None = None,
    ) -> WebhookSecret:
        """Sign with a new secret; for the overlap, by default a day, with the old one as well."""
        path = f"{_path(tenant, endpoint_id)}/secret:rotate"
        body = {"overlap_seconds": overlap_seconds, "secret": secret}
        return self._calls.parse(
            WebhookSecret, await self._calls.send("POST", path, body=given(body))
        )

    async def test(self, tenant: str, endpoint_id: str) -> WebhookDelivery:
        """Send a test message; `delivery` tells how it went."""
        answer = await self._calls.send("POST", f"{_path(tenant, endpoint_id)}:test")
        return self._calls.parse(WebhookDelivery, answer)

    async def deliveries(
        self,
        tenant: str,
        *,
        endpoint_id: str | None = None,
        execution_id: str | None = None,
        status: str | None = None,
        since: datetime | None = None,
        before: datetime | None = None,
        page_size: int = 100,
    ) -> AsyncIterator[WebhookDelivery]:
        """What was sent to a tenant's endpoints, the newest first, fetched page by page.

        `since` and `before` are aware; they limit when deliveries were created.
        """
        filters = {
            "endpoint_id": endpoint_id,
            "execution_id": execution_id,
            "status": status,
            "since": _text(since),
            "before": _text(before),
            "page_size": page_size,
        }
        path = f"/tenants/{quoted(tenant)}/deliveries"
        async for one in self._calls.pages(WebhookDelivery, path, filters):
            yield one

    async def delivery(self, tenant: str, delivery_id: str) -> WebhookDelivery:
        """One delivery: what it sends, and every attempt."""
        path = f"/tenants/{quoted(tenant)}/deliveries/{quoted(delivery_id)}"
        return await self._calls.get(WebhookDelivery, path, {})

    async def redeliver(self, tenant: str, delivery_id: str) -> WebhookDelivery:
        """Send one again, whatever became of it."""
        path = f"/tenants/{quoted(tenant)}/deliveries/{quoted(delivery_id)}:redeliver"
        return self._calls.parse(WebhookDelivery, await self._calls.send("POST", path))

    async def redeliver_since(
        self,
        tenant: str,
        endpoint_id: str,
        since: datetime,
        *,
        before: datetime | None = None,
        statuses: Collection[str] | None = None,
    ) -> WebhookRedelivery:
        """Send again what was created from `since` on and ended so: by default, what did not arrive."""
        body = {"since": _text(since), "before": _text(before), "statuses": _list(statuses)}
        path = f"{_path(tenant, endpoint_id)}:redeliver"
        return self._calls.parse(
            WebhookRedelivery, await self._calls.send("POST", path, body=given(body))
        )


def _path(tenant: str, endpoint_id: str | None = None) -> str:
    path = f"/tenants/{quoted(tenant)}/webhooks"
    return path if endpoint_id is None else f"{path}/{quoted(endpoint_id)}"


def _list(names: Collection[str] | None) -> Any:
    return names if names is None or names is _AS_IT_IS else list(names)


def _text(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat()
