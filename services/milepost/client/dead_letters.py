"""What a consumer group could not do: put aside on a topic of its own, and looked at there."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import MessageSizeTooLargeError, TopicAlreadyExistsError, for_code
from pydantic import BaseModel, ValidationError

from milepost.client import broker
from milepost.schemas.notifications import OPEN
from milepost.schemas.topics import MAX_OUTGOING_BYTES, Topic
from milepost.settings import Settings

_ERROR: Final = "milepost-error"
_MESSAGE: Final = "milepost-message"
_ATTEMPTS: Final = "milepost-attempts"
_ORIGIN: Final = "milepost-origin"
_OMITTED: Final = "milepost-omitted-bytes"
_OURS: Final = frozenset({_ERROR, _MESSAGE, _ATTEMPTS, _ORIGIN, _OMITTED})
# Of an error's class and of its message, in characters.
_LONGEST_CLASS: Final = 200
_LONGEST_MESSAGE: Final = 1_000

Headers = Sequence[tuple[str, bytes | None]]


class DeadLetter(NamedTuple):
    """One record that was put aside.

    `offset` is its place on the dead-letter topic, `origin` where it was first read, as
    topic/partition/offset. `error` is a class, `attempts` how often a body failed: 0 for a record
    that could not be read. What its value does not say is None.
    """

    offset: int
    recorded_at: datetime
    id: str | None
    execution_id: str | None
    tenant: str | None
    error: str
    message: str
    attempts: int
    origin: str


class DeadLetters:
    """A group's dead-letter topic, to write to. Every method raises the errors of `broker`."""

    def __init__(self, settings: Settings, topic: Topic, timeout: float) -> None:
        self._settings = settings
        self._servers = settings.kafka_bootstrap_servers
        self._topic = topic
        self._timeout = timeout
        self._producer: AIOKafkaProducer | None = None
        self._starting = asyncio.Lock()

    async def prepare(self, metadata: Any, like: str) -> None:
        """Create the topic where it is missing, with as many copies as the topic `like` has.

        One partition: what is put aside is little, and its offset alone names it. `metadata` is an
        `AIOKafkaClient`.
        """
        if self._topic.name in (await metadata.fetch_all_metadata()).topics():
            return
        admin = AIOKafkaAdminClient(**broker.connection(self._settings))
        try:
            await admin.start()
            [described] = await admin.describe_topics([like])
            copies = len(described["partitions"][0]["replicas"])
            new = NewTopic(self._topic.name, 1, copies, topic_configs=self._topic.config())
            with suppress(TopicAlreadyExistsError):  # another member was faster
                response = await admin.create_topics([new])
                for name, code, *message in response.topic_errors:
                    if code:
                        raise for_code(code)(f"to create {name}: {message[0] if message else ''}")
        finally:
            await admin.close()

    async def put(self, record: Any, error: BaseException, attempts: int) -> None:
        """Put a record aside: its bytes, key and headers, and why. Returns when it is there."""
        producer = await self._started()
        headers = _headers(record, error, attempts)
        async with broker.understood(self._servers, self._timeout):
            try:
                await producer.send_and_wait(
                    self._topic.name, record.value, key=record.key, headers=headers
                )
            except MessageSizeTooLargeError:
                # It came compressed. The origin says where its bytes are.
                size = len(record.key or b"") + len(record.value or b"")
                ours = [one for one in headers if one[0] in _OURS]
                ours.append((_OMITTED, str(size).encode()))
                await producer.send_and_wait(self._topic.name, headers=ours, key=b"")

    async def close(self) -> None:
        """Leave the broker."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await broker.stop(producer)

    async def _started(self) -> AIOKafkaProducer:
        # Only now: most members never need it.
        async with self._starting:
            if self._producer is None:
                producer = AIOKafkaProducer(
                    **broker.connection(self._settings),
                    acks="all",
                    enable_idempotence=True,
                    max_request_size=MAX_OUTGOING_BYTES,
                )
                await broker.start(producer, self._settings, self._timeout)
                self._producer = producer
            return self._producer


def attempts_before(headers: Headers) -> int:
    """How often bodies had failed at a record before it was put aside; 0 for one that never was."""
    text = dict(headers).get(_ATTEMPTS) or b"0"
    return int(text) if text.isdigit() else 0


def retry_group(group: str) -> str:
    """The consumer group whose offset says which dead letters of `group` were tried again."""
    return f"{group}.dead-letter"


async def waiting(settings: Settings, group: str, timeout: float = 30) -> list[DeadLetter]:  # noqa: ASYNC109  # as the readers
    """What `group` has put aside and nobody has tried again since, oldest first."""
    partition = TopicPartition(settings.topics.dead_letters(group).name, 0)
    consumer = AIOKafkaConsumer(
        **broker.connection(settings), group_id=retry_group(group), enable_auto_commit=False
    )
    await broker.start(consumer, settings, timeout)
    try:
        async with broker.understood(settings.kafka_bootstrap_servers, timeout):
            if partition.topic not in (await consumer._client.fetch_all_metadata()).topics():
                return []
            return [_read(record) for record in await _records(consumer, partition)]
    finally:
        await broker.stop(consumer)


async def _records(consumer: AIOKafkaConsumer, partition: TopicPartition) -> list[Any]:
    await consumer._client._wait_on_metadata(partition.topic)
    consumer.assign([partition])
    first = (await consumer.beginning_offsets([partition]))[partition]
    end = (await consumer.end_offsets([partition]))[partition]
    consumer.seek(partition, max(first, await consumer.committed(partition) or 0))
    records: list[Any] = []
    while await consumer.position(partition) < end:
        for batch in (await consumer.getmany(timeout_ms=200)).values():
            records += [one for one in batch if one.offset < end]
    return records


class _Named(BaseModel):
    model_config = OPEN
    id: str | None = None
    execution_id: str | None = None
    tenant: str | None = None


def _read(record: Any) -> DeadLetter:
    try:
        named = _Named.model_validate_json(record.value or b"{}")
    except ValidationError:
        named = _Named()
    headers = {name: (text or b"").decode("utf-8", "replace") for name, text in record.headers}
    return DeadLetter(
        record.offset,
        datetime.fromtimestamp(record.timestamp / 1_000, UTC),
        *(named.id, named.execution_id, named.tenant),
        *(headers.get(_ERROR, ""), headers.get(_MESSAGE, "")),
        attempts_before(record.headers),
        headers.get(_ORIGIN, ""),
    )


def _headers(record: Any, error: BaseException, attempts: int) -> list[tuple[str, bytes | None]]:
    # The first origin: a dead letter that fails again was read from the dead-letter topic.
    origin = dict(record.headers).get(_ORIGIN)
    if origin is None:
        origin = f"{record.topic}/{record.partition}/{record.offset}".encode()
    own = [one for one in record.headers if one[0] not in _OURS]
    return [*own, *_reasons(error, attempts), (_ORIGIN, origin)]


def _reasons(error: BaseException, attempts: int) -> Iterator[tuple[str, bytes]]:
    kind = type(error)
    name = (
        kind.__qualname__
        if kind.__module__ == "builtins"
        else f"{kind.__module__}.{kind.__qualname__}"
    )
    yield _ERROR, name[:_LONGEST_CLASS].encode("utf-8", "replace")
    yield _MESSAGE, str(error)[:_LONGEST_MESSAGE].encode("utf-8", "replace")
    yield _ATTEMPTS, str(attempts).encode()
