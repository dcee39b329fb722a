"""The stack that is looked at, and the ways to its parts."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from datetime import timedelta
from typing import Any, Final, NamedTuple, TypeVar

import asyncpg
import stamina
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import (
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    NotCoordinatorForGroupError,
)

from milepost.doctor.findings import CannotLook
from milepost.processor import reader, topics
from milepost.projections.statements import statement
from milepost.settings import Settings

T = TypeVar("T")

# What waits for longer has nobody who sees to it, or too few.
LATE: Final = timedelta(seconds=60)
CONNECT_SECONDS: Final = 5.0
# A broker that had no group yet makes a topic for their offsets first.
_COORDINATOR_SECONDS: Final = 5.0
_NO_COORDINATOR: Final = (
    GroupCoordinatorNotAvailableError, GroupLoadInProgressError, NotCoordinatorForGroupError,
)  # fmt: skip
_CONNECTIONS: Final = 4
_CLOSE_SECONDS: Final = 1.0
_SESSION: Final = {
    "application_name": "milepost-doctor",
    # Where the role sees only the rows of tenants: those of all.
    "milepost.tenant": "*",
    "lock_timeout": "1s",
    "statement_timeout": "5s",
}


class Stack(NamedTuple):
    """What the settings name, and connections to its database."""

    settings: Settings
    pool: "asyncpg.Pool[Any]"

    @property
    def kafka(self) -> str:
        """Where the broker is, for people."""
        return f"Kafka at {self.settings.kafka_bootstrap_servers}"

    @property
    def postgres(self) -> str:
        """Where the database is, for people."""
        return f"Postgres at {self.settings.database_place}"

    @property
    def group(self) -> str:
        """Which consumer group the processors are in, for people."""
        return f"consumer group {self.settings.consumer_group}"

    def admin(self) -> AbstractAsyncContextManager[AIOKafkaAdminClient]:
        """A connection to the broker. Raises KafkaError."""
        return topics.connected(self.settings)

    def reader(self) -> AbstractAsyncContextManager[reader.Reader]:
        """A reader of the events topic. Raises KafkaError."""
        return reader.connected(self.settings)

    async def events_partitions(self) -> list[int]:
        """The partitions of the events topic. Raises CannotLook where there is no such topic."""
        events = self.settings.topics.events
        async with self.admin() as admin:
            if events not in await admin.list_topics():
                raise CannotLook(f"because of topics: {events} does not exist")
            [described] = await admin.describe_topics([events])
        return sorted(partition["partition"] for partition in described["partitions"])

    async def of_group(self, ask: Callable[[AIOKafkaAdminClient], Awaitable[T]]) -> T:
        """The broker's answer about the consumer group, whose coordinator may still be on its way."""
        async with self.admin() as admin:
            async for attempt in stamina.retry_context(
                on=_NO_COORDINATOR,
                attempts=None, timeout=_COORDINATOR_SECONDS, wait_initial=0.1, wait_max=0.5,
            ):  # fmt: skip
                with attempt:
                    return await ask(admin)
        raise AssertionError("unreachable: the retries end by returning or raising")

    async def fetch(self, name: str, *arguments: Any) -> "list[asyncpg.Record]":
        """The rows of the statement `doctor/<name>`."""
        return await self.pool.fetch(statement(f"doctor/{name}"), *arguments)

    async def row(self, name: str, *arguments: Any) -> "asyncpg.Record":
        """The one row of the statement `doctor/<name>`."""
        [row] = await self.fetch(name, *arguments)
        return row


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Stack]:
    """The stack of these settings; connects nowhere before it is asked."""
    pool = await asyncpg.create_pool(
        settings.dsn, min_size=0, max_size=_CONNECTIONS, timeout=CONNECT_SECONDS,
        server_settings=_SESSION,
    )  # fmt: skip
    try:
        yield Stack(settings, pool)
    finally:
        with suppress(TimeoutError):
            # When time is up, asyncpg terminates what is still in use.
            await asyncio.wait_for(pool.close(), _CLOSE_SECONDS)
