"""What the tests of the API work with: the API over HTTP, a log that is folded for real, the topic."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple, cast
from uuid import uuid4

import asyncpg
import httpx2
import uvicorn
from aiokafka import AIOKafkaConsumer, TopicPartition

from milepost.api.app import create_app
from milepost.api.context import Context
from milepost.api.protocol import Protocol
from milepost.projections import store
from milepost.projections.batch import decode_all
from milepost.projections.store import Batch, Store
from milepost.schemas.binding import Encoded, Event, decode, encode
from milepost.schemas.events import EventData, Requested
from milepost.settings import Settings


def now() -> datetime:
    """The current time, UTC."""
    return datetime.now(UTC)


def requested(operation: str = "provision", **facts: Any) -> Requested:
    """A request under a key of its own."""
    facts.setdefault("idempotency_key", str(uuid4()))
    return Requested(occurred_at=now(), operation=operation, **facts)


class Appended(NamedTuple):
    """A record that has its place in a log."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]


class Log:
    """A log without a broker: what is appended is folded and committed at once."""

    def __init__(self, pool: Any, settings: Settings) -> None:
        self._store = Store(pool, settings.topics)
        self._topic = settings.topics.events
        self._ends: dict[int, int] = {}

    async def report(
        self,
        tenant: str,
        execution_id: str,
        *events: EventData,
        partition: int = 0,
        event_id: str | None = None,
        recorded_at: datetime | None = None,
    ) -> None:
        """Append these events of one execution as one batch."""
        records = [
            encode(
                event,
                tenant=tenant,
                execution_id=execution_id,
                source="/test",
                reported=now(),
                event_id=event_id,
            )
            for event in events
        ]
        await self.append(*records, partition=partition, recorded_at=recorded_at)

    async def append(
        self, *records: Encoded, partition: int = 0, recorded_at: datetime | None = None
    ) -> None:
        """Append these records as one batch."""
        # Taken over each time: a module may have several of these on one database.
        position = await self._store.acquire(self._topic, partition, 0)
        start = position.next_offset
        timestamp = int((recorded_at or now()).timestamp() * 1_000)
        appended = [
            Appended(
                self._topic, partition, offset, timestamp, record.key, record.value,
                list(record.headers),
            )
            for offset, record in enumerate(records, start)
        ]  # fmt: skip
        end = self._ends[partition] = start + len(records)
        batch = Batch(self._topic, partition, start, end, decode_all(appended))
        await self._store.write(batch, position.epoch, None)

    async def measure(self, behind: int, partition: int = 0) -> None:
        """Report the end of a partition, as a processor does each second."""
        end = self._ends[partition] + behind
        await self._store.report_ends(self._topic, {partition: end})


@dataclass(frozen=True)
class Api:
    """A running API: its address, a client for it, its parts, and a log that its answers come from."""

    url: str
    http: httpx2.AsyncClient
    parts: Context
    log: Log
    settings: Settings

    async def get(self, path: str, status: int = 200, **query: Any) -> dict[str, Any]:
        """The JSON document at `path`, which must answer with `status`."""
        response = await self.http.get(path, params=query)
        return document(response, status)

    async def post(
        self,
        path: str,
        body: Any = None,
        status: int = 202,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """The JSON document that this body gets."""
        response = await self.http.post(path, json=body, headers=headers)
        return document(response, status)

    async def execution(self, tenant: str, *events: EventData, **facts: Any) -> str:
        """A new execution, requested and then reported on; its id."""
        request = requested(**facts)
        execution_id = request.execution_id(tenant)
        await self.log.report(tenant, execution_id, request, *events)
        return execution_id

    async def published(self) -> list[Event]:
        """Every event that the broker has."""
        topic = self.settings.topics.events
        async with AIOKafkaConsumer(
            bootstrap_servers=self.settings.kafka_bootstrap_servers
        ) as consumer:
            partitions = [
                TopicPartition(topic, number)
                for number in await consumer._client._wait_on_metadata(topic)
            ]
            consumer.assign(partitions)
            await consumer.seek_to_beginning()
            ends = await consumer.end_offsets(partitions)
            events = []
            for partition, end in ends.items():
                while await consumer.position(partition) < end:
                    record = await consumer.getone(partition)
                    events.append(cast(Event, decode(record)))
            return events


def document(response: httpx2.Response, status: int) -> dict[str, Any]:
    """The JSON of a response that must have this status; errors must be problem documents."""
    assert response.status_code == status, response.text
    if status >= 400:
        assert response.headers["content-type"] == "application/problem+json"
        assert response.json()["status"] == status
    found: dict[str, Any] = response.json()
    return found


@contextlib.asynccontextmanager
async def running_api(settings: Settings, **clocks: Any) -> AsyncIterator[Api]:
    """The API on a free port, in this process; `clocks` as for `create_app`."""
    async with (
        served(settings, **clocks) as (url, parts),
        await store.connect(settings.dsn, size=2) as pool,
        httpx2.AsyncClient(base_url=url, trust_env=False, timeout=30) as http,
    ):
        yield Api(url, http, parts, Log(pool, settings), settings)


@contextlib.asynccontextmanager
async def served(settings: Settings, **clocks: Any) -> AsyncIterator[tuple[str, Context]]:
    """The application behind uvicorn: its address and its parts."""
    app = create_app(settings, **clocks)
    config = uvicorn.Config(
        app, http=Protocol, log_config=None, lifespan="on", timeout_graceful_shutdown=1
    )
    server = _Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        task = asyncio.ensure_future(server._serve([listener]))
        try:
            await asyncio.wait_for(server.listening.wait(), 10)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}", app.state.context
        finally:
            server.should_exit = True
            await task


class _Server(uvicorn.Server):
    """Says when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()


@contextlib.asynccontextmanager
async def connected(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection as the owner of the database."""
    connection = await asyncpg.connect(dsn)
    try:
        yield connection
    finally:
        await connection.close()


async def seconds(awaitable: Any) -> tuple[float, Any]:
    """How long it took, and the result."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    result = await awaitable
    return loop.time() - start, result
