"""Connecting to Kafka in bounded time, and leaving it in bounded time."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    NodeNotReadyError,
    RequestTimedOutError,
)

from milepost.client import dead_connections
from milepost.client.errors import BrokerRefused, BrokerUnavailable, TopicMissing
from milepost.client.refusal import Refusal, refusal
from milepost.settings import Settings

# While a broker is away aiokafka reports each attempt. Without logging set up, Python would print
# those lines to standard error, beside the one error that says it all.
logging.getLogger("aiokafka").addHandler(logging.NullHandler())

dead_connections.install()

UNAVAILABLE: Final = (
    KafkaConnectionError, KafkaTimeoutError, NodeNotReadyError, RequestTimedOutError, TimeoutError,
)  # fmt: skip
# Until then a request waits on a connection that nothing comes from any more, and with it every call;
# aiokafka's own are 40 s. It is sent again on another, and the broker drops it if it had it already.
REQUEST_MS: Final = 10_000
_RETRY_SECONDS: Final = 0.2
_TOPIC_SECONDS: Final = 5
_CLOSE_SECONDS: Final = 5


def connection(settings: Settings) -> dict[str, Any]:
    """With which arguments every client of aiokafka reaches the broker of these settings."""
    protocol = settings.kafka_security_protocol
    arguments = {
        "bootstrap_servers": settings.kafka_bootstrap_servers,
        "security_protocol": protocol,
        "ssl_context": settings.kafka_tls(),
    }
    if protocol.startswith("SASL_"):
        assert settings.kafka_password is not None, "the settings see to it"
        arguments |= {
            "sasl_mechanism": settings.kafka_sasl_mechanism,
            "sasl_plain_username": settings.kafka_username,
            "sasl_plain_password": settings.kafka_password.get_secret_value(),
        }
    return arguments


@asynccontextmanager
async def connecting(settings: Settings) -> AsyncIterator[None]:
    """Turn aiokafka's error of a failed connection into BrokerRefused where the reason is known."""
    try:
        yield
    except KafkaConnectionError:
        found = await refusal(connection(settings))
        if found is None:
            raise
        raise BrokerRefused(settings.kafka_bootstrap_servers, found.reason) from None


@asynccontextmanager
async def understood(servers: str, seconds: float) -> AsyncIterator[None]:
    """Limit the block to `seconds`, and turn aiokafka's errors into Milepost's."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except UNAVAILABLE:
        raise BrokerUnavailable(servers, seconds) from None
    except KafkaError as error:
        raise BrokerRefused(servers, str(error)) from None


async def start(
    client: AIOKafkaProducer | AIOKafkaConsumer, settings: Settings, seconds: float
) -> None:
    """Start `client`, trying again until a broker answers.

    Raises BrokerUnavailable after `seconds`, BrokerRefused when trying again is pointless; the
    client is closed then.
    """
    servers = settings.kafka_bootstrap_servers
    found: Refusal | None = None
    try:
        async with understood(servers, seconds):
            while True:
                try:
                    await client.start()
                except KafkaConnectionError:
                    found = await refusal(connection(settings))
                    if found and found.final:
                        raise BrokerRefused(servers, found.reason) from None
                    await asyncio.sleep(_RETRY_SECONDS)
                else:
                    return
    except BrokerUnavailable as error:
        await stop(client)
        if found is None:
            raise
        raise BrokerUnavailable(error.servers, error.seconds, found.reason) from None
    except BaseException:
        await stop(client)
        raise


async def require_topics(metadata: Any, topics: Iterable[str], servers: str) -> None:
    """Wait a moment for topics that are being created. Raises TopicMissing.

    `metadata` is an `AIOAIOKafkaProducer | AIOKafkaConsumer`: it knows the topics of the whole cluster.
    """
    missing = set(topics)
    deadline = time.monotonic() + _TOPIC_SECONDS
    while missing := missing - (await metadata.fetch_all_metadata()).topics():
        if time.monotonic() > deadline:
            raise TopicMissing(servers, min(missing))
        await asyncio.sleep(_RETRY_SECONDS)


async def stop(
    client: AIOKafkaProducer | AIOKafkaConsumer, seconds: float = 2 * _CLOSE_SECONDS
) -> None:
    """Close `client`. What cannot be delivered within some seconds is given up."""
    closing = asyncio.ensure_future(_close(client))
    try:
        await asyncio.wait([closing], timeout=seconds)
    finally:
        closing.cancel()
        with suppress(asyncio.CancelledError, KafkaError):
            await closing
        # Where leaving a group fails, aiokafka leaves its connections open.
        metadata = client.client if isinstance(client, AIOKafkaProducer) else client._client
        await metadata.close()


async def _close(client: AIOKafkaProducer | AIOKafkaConsumer) -> None:
    if isinstance(client, AIOKafkaProducer) and client._sender.sender_task is not None:
        flushing = asyncio.ensure_future(client.flush())
        await asyncio.wait([flushing], timeout=_CLOSE_SECONDS)
        if not flushing.done():
            # An idempotent producer never gives up a batch, and would wait for it when it stops.
            flushing.cancel()
            await client._sender.close()
            client._sender = None
    await client.stop()
