"""The API's way to Kafka: an SDK publisher that is opened in the background."""

import asyncio
from copy import copy
from typing import Final

import structlog
from aiokafka.client import AIOKafkaClient

from milepost.api.access import EVERYTHING, Scope
from milepost.api.problems import BROKER_UNAVAILABLE, Problem
from milepost.client import InvalidEvent, MilepostError, Publisher, TopicMissing
from milepost.client.broker import understood
from milepost.schemas.events import EventData
from milepost.settings import Settings

SOURCE: Final = "/milepost/api"
PUBLISH_SECONDS: Final = 3.0
_RETRY_SECONDS: Final = 0.5
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

    async def publish(
        self, data: EventData, tenant: str, execution_id: str, *, event_id: str | None = None
    ) -> None:
        """Publish one event; returns when every in-sync replica has it.

        Raises Problem: 404 and 403 as `Scope.require`, and 503 when it cannot be said in time: the
        event may still arrive, and publishing it again under the same id is harmless.
        """
        self._scope.require(tenant)
        self._scope.wrote(tenant)
        try:
            async with asyncio.timeout(self._seconds):
                publisher = await asyncio.shield(self._opened)
                await publisher.publish(data, tenant, execution_id, event_id=event_id)
        except InvalidEvent:
            raise
        except (MilepostError, TimeoutError) as error:
            detail = f"The broker did not take the event within {self._seconds:g} s."
            raise Problem(BROKER_UNAVAILABLE, detail) from error


async def check(settings: Settings, seconds: float) -> None:
    """Raise MilepostError unless a broker answers in time and has the events topic."""
    servers, topic = settings.kafka_bootstrap_servers, settings.topics.events
    client = AIOKafkaClient(bootstrap_servers=servers)
    try:
        async with understood(servers, seconds):
            await client.bootstrap()
            metadata = await client.fetch_all_metadata()
    finally:
        await client.close()
    if topic not in metadata.topics():
        raise TopicMissing(servers, topic)
