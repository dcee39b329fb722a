"""A tenant with endpoints at a receiver, and a sender that runs in the test."""

import asyncio
import base64
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import asyncpg
import pytest

from milepost.projections import endpoints, webhooks
from milepost.projections.listening import listen
from milepost.projections.webhooks import CHANNEL, Message, Pool
from milepost.schemas.values import TERMINAL
from milepost.schemas.webhooks import new_secret
from milepost.sealing import Seal
from milepost.settings import Settings
from milepost.webhooks.calls import Caller
from milepost.webhooks.sender import Sender
from webhooks.receiver import Receiver, receiving


@pytest.fixture(scope="module")
def settings(broker_settings: Settings, database: str) -> Settings:
    """As everywhere, with a key to seal secrets, and calls of the loopback interface allowed."""
    return Settings(
        **{
            **dict(broker_settings),
            "database_url": database,
            "webhook_keys": base64.urlsafe_b64encode(os.urandom(32)).decode(),
            "webhook_allowed_networks": "127.0.0.0/8",
            "session_timeout_seconds": 1,
        }
    )


@pytest.fixture(scope="module")
async def pool(settings: Settings) -> AsyncIterator[Pool]:
    async with await webhooks.connect(settings.dsn, size=10) as pool:
        yield pool


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


@pytest.fixture
def tenant() -> str:
    """A tenant of the test's own."""
    return f"tenant-{uuid4().hex[:8]}"


class Hook(NamedTuple):
    """An endpoint of the test's tenant, and what it verifies with."""

    id: UUID
    path: str
    secret: str


class Tenant:
    """Makes endpoints for the test's tenant, gives them messages, and looks at what became of them."""

    def __init__(self, name: str, pool: Pool, seal: Seal, url: str) -> None:
        self.name = name
        self._pool = pool
        self._seal = seal
        self._url = url

    async def hook(self, path: str, **facts: Any) -> Hook:
        """An endpoint that wants everything, but for these facts."""
        hook = Hook(uuid4(), path, new_secret())
        given = {
            "endpoint_id": hook.id,
            "url": self._url + path,
            "description": None,
            "states": sorted(TERMINAL),
            "operations": None,
            "created_at": datetime.now(UTC),
            "updated_at": datetime.now(UTC),
        }
        new = endpoints.Endpoint(**{**given, **facts})
        async with self._pool.acquire() as connection, connection.transaction():
            assert await endpoints.create(connection, self.name, new, most=1_000)
        await self.sign_with(hook, hook.secret)
        return hook

    async def sign_with(self, hook: Hook, secret: str, end: datetime | None = None) -> None:
        """Add a secret; it, or with `end` those before it, end then."""
        now = datetime.now(UTC)
        async with self._pool.acquire() as connection, connection.transaction():
            if end is not None:
                await endpoints.expire_secrets(connection, self.name, hook.id, end, now)
            await endpoints.add_secret(
                connection, self.name, hook.id, uuid4(), self._seal.seal(secret), now
            )

    async def owe(self, *hooks: Hook, count: int = 1) -> list[Message]:
        """So many messages, each due at each endpoint."""
        messages = [
            Message(self.name, str(uuid4()), "test", None, b'{"number":%d}' % number)
            for number in range(count)
        ]
        async with self._pool.acquire() as connection, connection.transaction():
            wanted = [(message, hook.id) for message in messages for hook in hooks]
            await webhooks.add(connection, wanted)
        return messages

    async def deliveries(self, hook: Hook | None = None) -> list[asyncpg.Record]:
        """What is known of the deliveries, in the order of their making."""
        rows: list[asyncpg.Record] = await self._pool.fetch(
            "SELECT *, due_at - now() AS wait FROM webhook_deliveries WHERE tenant = $1"
            " AND endpoint_id = coalesce($2, endpoint_id) ORDER BY created_at, message_id",
            *(self.name, hook and hook.id),
        )
        return rows

    async def attempts(self) -> list[asyncpg.Record]:
        """Every attempt, the oldest first."""
        rows: list[asyncpg.Record] = await self._pool.fetch(
            "SELECT * FROM webhook_attempts WHERE tenant = $1 ORDER BY attempted_at", self.name
        )
        return rows

    async def message_types(self) -> list[str]:
        """What was sent, or noted, of which type."""
        query = "SELECT type FROM webhook_messages WHERE tenant = $1 ORDER BY type"
        return [row["type"] for row in await self._pool.fetch(query, self.name)]

    async def change(self, hook: Hook, **facts: Any) -> None:
        """Give the endpoint these facts."""
        async with self._pool.acquire() as connection, connection.transaction():
            held = await endpoints.hold(connection, self.name, hook.id)
            assert held is not None
            new = held._replace(**facts)
            await endpoints.change(connection, self.name, held, new, datetime.now(UTC))

    async def endpoint(self, hook: Hook) -> endpoints.Endpoint:
        """The endpoint as it is stored."""
        async with self._pool.acquire() as connection:
            found = await endpoints.read(connection, self.name, hook.id)
        assert found is not None
        return found

    async def pass_time(self) -> None:
        """Whatever is to happen later is due now: the clock that is not waited for."""
        await self._pool.execute(
            "WITH due AS (UPDATE webhook_deliveries SET due_at = now()"
            " WHERE tenant = $1 AND status = 'pending')"
            " SELECT pg_notify($2, $1)",
            *(self.name, CHANNEL),
        )


@pytest.fixture
async def acme(tenant: str, pool: Pool, settings: Settings, receiver: Receiver) -> Tenant:
    """The test's tenant."""
    # Nothing may be due to the receivers of other tests.
    await pool.execute(
        "TRUNCATE webhook_endpoints, webhook_secrets, webhook_messages, webhook_deliveries,"
        " webhook_attempts"
    )
    return Tenant(tenant, pool, Seal(settings), receiver.url)


@pytest.fixture
def globex(acme: Tenant, pool: Pool, settings: Settings, receiver: Receiver) -> Tenant:
    """Another tenant."""
    return Tenant(f"{acme.name}-other", pool, Seal(settings), receiver.url)


Sending = Callable[[], AbstractAsyncContextManager[Sender]]


@pytest.fixture
def sending(pool: Pool, settings: Settings) -> Sending:
    """While the block runs, a worker sends; what it has begun is written when the block has ended."""

    @asynccontextmanager
    async def send() -> AsyncIterator[Sender]:
        async with Caller(settings.webhook_allowed_networks) as caller:
            sender = Sender(pool, caller, Seal(settings))
            connect = partial(webhooks.listen, settings.dsn)
            hearing = asyncio.create_task(listen(connect, CHANNEL, sender.wake))
            running = asyncio.create_task(sender.run())
            try:
                yield sender
            finally:
                sender.end()
                await running
                hearing.cancel()

    return send
