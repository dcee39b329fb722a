"""Endpoints made through the API, and deliveries as the webhook worker leaves them behind."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from ipaddress import ip_network
from typing import Any, Final
from uuid import uuid4

import asyncpg

from api.harness import Api, now

URL: Final = "https://example.com/hook"
NETWORK: Final = (ip_network("127.0.0.0/8"),)
CHANNEL: Final = "milepost_webhooks"
_NEWS_SECONDS: Final = 10


async def endpoint(api: Api, tenant: str, **facts: Any) -> dict[str, Any]:
    """A new endpoint, with its secret."""
    return await api.post(f"/v1/tenants/{tenant}/webhooks", {"url": URL, **facts}, 201)


async def sent(
    owner: asyncpg.Connection,
    tenant: str,
    endpoint_id: str,
    status: str = "pending",
    *,
    execution_id: str | None = None,
    created_at: datetime | None = None,
    codes: Sequence[int | None] = (),
) -> str:
    """A delivery of a completion to this endpoint; `codes` are the answers to its attempts."""
    delivery_id, message_id, created = str(uuid4()), str(uuid4()), created_at or now()
    await owner.execute(
        "INSERT INTO webhook_messages VALUES ($1, $2, $3, $4, $5, $6)",
        *(tenant, message_id, "milepost.completion.failed.v1", execution_id or str(uuid4())),
        *(b'{"type": "milepost.completion.failed.v1", "data": {"a": 1}}', created),
    )
    pending = status == "pending"
    await owner.execute(
        "INSERT INTO webhook_deliveries VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        *(tenant, delivery_id, endpoint_id, message_id, created, status, len(codes)),
        *(created + timedelta(hours=1) if pending else None, None if pending else created),
    )
    for number, code in enumerate(codes):
        error = "connection refused" if code is None else None
        at = created + timedelta(seconds=number)
        await owner.execute(
            "INSERT INTO webhook_attempts VALUES ($1, $2, $3, $4, $5, $6, $7)",
            *(tenant, delivery_id, at, 0.25, code, error, None if code is None else "sorry"),
        )
    return delivery_id


@asynccontextmanager
async def heard(owner: asyncpg.Connection, tenant: str) -> AsyncIterator[None]:
    """The block must wake up who sends for this tenant."""
    news: asyncio.Queue[str] = asyncio.Queue()

    def tell(*arguments: Any) -> None:
        news.put_nowait(arguments[3])

    await owner.add_listener(CHANNEL, tell)
    try:
        yield
        async with asyncio.timeout(_NEWS_SECONDS):
            while await news.get() != tenant:
                pass
    finally:
        await owner.remove_listener(CHANNEL, tell)
