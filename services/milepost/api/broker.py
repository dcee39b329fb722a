"""The API's way to Kafka: an SDK publisher that is opened in the background."""

import asyncio
from copy import copy
from typing import Final

import structlog
from aiokafka.client import AIOKafkaClient

from milepost.api.access import EVERYTHING, Scope
from milepost.api.problems import BODY_TOO_LARGE, BROKER_UNAVAILABLE, Problem
from milepost.client import InvalidEvent, MilepostError, Published, Publisher, TopicMissing
from milepost.client.broker import connecting, connection, understood
from milepost.schemas.binding import Encoded
from milepost.schemas.topics import MAX_EVENT_BYTES
from milepost.settings import Settings

SOURCE: Final = "/milepost/api"
PUBLISH_SECONDS: Final = 3.0
_RETRY_SECONDS: Final = 0.5
# What a record may take beside its value and headers.
_RECORD_OVERHEAD: Final = 4_096
_log: Final = structlog.get_logger(__name__)


class Broker:
    """Publishes events, each call in bounded time (`seconds`) whether or not a broker is there, and
    only those of tenants in `scope`."""

    def __init__(self, settings: Settings, seconds: float = PUBLISH_SECONDS) -> None:
        self._settings = settings
        self._seconds = seconds
        self._scope = EVERYTHING
        self._opened: asyncio.Future[Publisher] = asyncio.get_running_loop().create_future()

    def within(self, scope: Scope) -> "Broker":
        """The same publisher, for what `scope` may touch."""
        broker = copy(self)
        broker._scope = scope
        return broker

    async def run(self) -> None:
        """Keep a publisher open until cancelled; a broker that is away at first may come later."""
        while True:
            publisher = Publisher(self._settings, source=SOURCE, timeout=self._seconds)
            try:
                async with publisher:
                    self._opened.set_result(publisher)
                    await asyncio.Event().wait()
            except MilepostError as error:
                _log.warning("cannot_publish", error=str(error))
                await asyncio.sleep(_RETRY_SECONDS)

    async def publish(self, record: Encoded, tenant: str) -> Published:
        """Publish one event of this tenant's; returns when every in-sync replica has it.

        Raises Problem: 404 and 403 as `Scope.require`, and 503 when it cannot be said in time: the
        event may still arrive, and publishing it again under the same id is harmless.
        """
        self._scope.require(tenant)
        self._scope.wrote(tenant)
        try:
            async with asyncio.timeout(self._seconds):
                publisher = await asyncio.shield(self._opened)
                return await publisher.publish_record(record)
        except InvalidEvent:
            raise
        except (MilepostError, TimeoutError) as error:
            detail = f"The broker did not take the event within {self._seconds:g} s."
            raise Problem(BROKER_UNAVAILABLE, detail) from error


def require_size(record: Encoded) -> None:
    """Raise Problem (413) unless the record fits on the events topic."""
    size = len(record.value) + sum(len(name) + len(value) for name, value in record.headers)
    if size > MAX_EVENT_BYTES - _RECORD_OVERHEAD:
        detail = (
            f"The event has {size:,} bytes; {MAX_EVENT_BYTES - _RECORD_OVERHEAD:,} is the limit."
        )
        raise Problem(BODY_TOO_LARGE, detail)


async def check(settings: Settings, seconds: float) -> None:
    """Raise MilepostError unless a broker answers in time and has the events topic."""
    servers, topic = settings.kafka_bootstrap_servers, settings.topics.events
    client = AIOKafkaClient(**connection(settings))
    try:
        async with understood(servers, seconds):
            async with connecting(settings):
                await client.bootstrap()
            metadata = await client.fetch_all_metadata()
    finally:
        await client.close()
    if topic not in metadata.topics():
        raise TopicMissing(servers, topic)
