"""Publishing what a provider reports, as CloudEvents on the events topic."""

import asyncio
import socket
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from itertools import count
from types import TracebackType
from typing import Any, Final, NamedTuple, Self, TypeVar

from aiokafka import AIOKafkaProducer
from aiokafka.errors import MessageSizeTooLargeError
from cloudevents.core.base import BaseCloudEvent
from cloudevents.core.bindings.kafka import to_binary_event
from pydantic import ValidationError

from milepost import tracing
from milepost.client import broker
from milepost.client.errors import InvalidEvent, MilepostError, RecordTooLarge
from milepost.client.execution import ExecutionHandle
from milepost.schemas.binding import Encoded, Rejection, check, encode
from milepost.schemas.events import CancellationRequested, EventData, Requested
from milepost.schemas.topics import MAX_EVENT_BYTES
from milepost.schemas.values import Expectations, Links
from milepost.settings import Settings

# Up to this many bytes per partition wait for the broker, and as many are on their way.
_BATCH_BYTES: Final = 128 * 1024
# More calls than this wait for their turn here. In aiokafka's full buffer they would all wake at
# every batch: measured on 20,000 calls at once, 4,900/s with this limit, 780/s with 10,000, and
# without one the calls timed out.
_AT_ONCE: Final = 250

Data = TypeVar("Data", bound=EventData)


class Published(NamedTuple):
    """Where an acknowledged event is in the log. With `event_id` a retry is told from news."""

    event_id: str
    partition: int
    offset: int


def now() -> datetime:
    """The current time, UTC."""
    return datetime.now(UTC)


class Publisher:
    """Publishes events; every method returns when the broker has acknowledged the record.

    An event without a `traceparent` gets that of the OpenTelemetry span that is active, if one is.

        async with Publisher() as publisher:
            run = await publisher.request("acme", "provision", provider="ecs", parameters={...})
            await run.started()

    Args:
        settings: where Kafka is; by default read from the environment.
        source: who reports, the CloudEvents `source`, e.g. `/providers/ecs/eu-west-1`.
        timeout: seconds that connecting, and each call, may take. A broker that comes back in time
            goes unnoticed.
        clock: gives the time of events without `occurred_at`, and the time of reporting.

    Methods raise InvalidEvent or RecordTooLarge before anything is sent, BrokerUnavailable when no
    broker answers in time (the record may still arrive), BrokerRefused for other answers. Safe to
    use from many tasks at once: records on their way share requests.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        source: str | None = None,
        timeout: float = 30,
        clock: Callable[[], datetime] = now,
    ) -> None:
        self._settings = settings or Settings()
        self._servers = self._settings.kafka_bootstrap_servers
        self._topic = self._settings.topics.events
        self._timeout = timeout
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._producer: AIOKafkaProducer | None = None
        self.source = source or f"/sdk/{socket.gethostname()}"
        self.clock = clock

    async def __aenter__(self) -> Self:
        producer = AIOKafkaProducer(
            **broker.connection(self._settings),
            acks="all",
            enable_idempotence=True,
            max_batch_size=_BATCH_BYTES,
            max_request_size=MAX_EVENT_BYTES,
            request_timeout_ms=broker.REQUEST_MS,
        )
        await broker.start(producer, self._settings, self._timeout)
        try:
            await broker.require_topics(producer.client, [self._topic], self._servers)
        except BaseException:
            await broker.stop(producer)
            raise
        self._producer = producer
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            await broker.stop(producer)

    async def request(
        self,
        tenant: str,
        operation: str,
        *,
        provider: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        parameters_digest: str | None = None,
        key: str | None = None,
        labels: Mapping[str, str] | None = None,
        links: Links | Mapping[str, str] | None = None,
        expectations: Expectations | Mapping[str, float] | None = None,
        requested_by: str | None = None,
        occurred_at: datetime | None = None,
        event_id: str | None = None,
        traceparent: str | None = None,
    ) -> ExecutionHandle:
        """Ask for an operation. The handle's `execution_id` is the same for the same request.

        With `key`, the id comes from (tenant, operation, key); without, from the tenant, the
        operation, the provider, the parameters and the links.
        """
        data = self.build(
            Requested,
            occurred_at,
            operation=operation,
            provider=provider,
            parameters=parameters,
            parameters_digest=parameters_digest,
            idempotency_key=key,
            labels=labels,
            links=links,
            expectations=expectations,
            requested_by=requested_by,
        )
        try:
            execution_id = data.execution_id(tenant)
        except ValueError as error:
            raise InvalidEvent("parameters", str(error)) from None
        run = self.execution(tenant, execution_id)
        published = await run.publish(data, event_id=event_id, traceparent=traceparent)
        run.event_id = published.event_id
        return run

    def execution(self, tenant: str, execution_id: str) -> ExecutionHandle:
        """A handle for an execution that exists, or will."""
        return ExecutionHandle(self, tenant, execution_id, count(1))

    async def cancel(
        self,
        tenant: str,
        execution_id: str,
        *,
        reason: str | None = None,
        requested_by: str | None = None,
        occurred_at: datetime | None = None,
        event_id: str | None = None,
        traceparent: str | None = None,
    ) -> Published:
        """Ask for an execution to be called off. Its state stays until the provider reports."""
        data = self.build(
            CancellationRequested, occurred_at, reason=reason, requested_by=requested_by
        )
        return await self.publish(
            data, tenant, execution_id, event_id=event_id, traceparent=traceparent
        )

    def build(self, kind: type[Data], occurred_at: datetime | None, **facts: Any) -> Data:
        """The data of one event. Raises InvalidEvent, naming the field."""
        given = {name: value for name, value in facts.items() if value is not None}
        try:
            return kind(occurred_at=occurred_at or self.clock(), **given)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False)[0]
            field = ".".join(str(part) for part in first["loc"]) or "data"
            raise InvalidEvent(field, first["msg"]) from None

    async def publish(
        self,
        data: EventData,
        tenant: str,
        execution_id: str,
        *,
        event_id: str | None = None,
        sequence: int | None = None,
        traceparent: str | None = None,
    ) -> Published:
        """Publish one event. Without `event_id` it gets a random one, with it a retry is harmless."""
        try:
            record = encode(
                data,
                tenant=tenant,
                execution_id=execution_id,
                source=self.source,
                reported=self.clock(),
                event_id=event_id,
                sequence=sequence,
                traceparent=traceparent or tracing.traceparent(),
            )
        except ValueError as error:
            raise _refusal(data, error) from None
        return await self._send(record, dict(record.headers)["ce_id"].decode())

    async def publish_cloudevent(self, event: BaseCloudEvent) -> Published:
        """Publish a CloudEvent of the `cloudevents` SDK as it is, its unknown members included.

        Needs the attributes of the contract: `subject` (the execution id), `tenantid`, a `time`, and
        one of Milepost's types. Raises InvalidEvent, naming the attribute, for anything else.
        """
        message = to_binary_event(event, key_mapper=lambda event: event.get_subject())
        key = message.key.encode() if isinstance(message.key, str) else message.key
        return await self.publish_record(
            Encoded(key or b"", message.value, list(message.headers.items()))
        )

    async def publish_record(self, record: Encoded) -> Published:
        """Publish a record of the CloudEvents Kafka binding, in either mode, byte for byte.

        Raises InvalidEvent, naming the field, for what breaks the contract.
        """
        outcome = check(record)
        if isinstance(outcome, Rejection):
            raise InvalidEvent(outcome.field, outcome.message)
        return await self._send(record, outcome.id)

    async def flush(self) -> None:
        """Wait until everything that was being published is acknowledged."""
        async with broker.understood(self._servers, self._timeout):
            await self._connected().flush()

    def _connected(self) -> AIOKafkaProducer:
        if self._producer is None:
            raise MilepostError("the publisher is not open: use it in an `async with` block")
        return self._producer

    async def _send(self, record: Encoded, event_id: str) -> Published:
        producer = self._connected()
        async with self._slots, broker.understood(self._servers, self._timeout):
            try:
                metadata = await producer.send_and_wait(
                    self._topic, record.value, key=record.key, headers=record.headers
                )
            except MessageSizeTooLargeError:
                raise RecordTooLarge(len(record.value), MAX_EVENT_BYTES) from None
        return Published(event_id, metadata.partition, metadata.offset)


def _refusal(data: EventData, error: ValueError) -> InvalidEvent:
    field, colon, message = str(error).partition(": ")
    if field == "value" and (size := len(data.model_dump_json())) > MAX_EVENT_BYTES:
        return RecordTooLarge(size, MAX_EVENT_BYTES)
    return InvalidEvent(field, message) if colon else InvalidEvent("data", field)
