"""Looking into the log, and playing the processor: its records, written in its transactions."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from pydantic import BaseModel

from milepost.schemas.binding import Event, decode
from milepost.schemas.notifications import Command, Completion
from milepost.schemas.values import State
from milepost.settings import Settings


async def records(settings: Settings, topic: str) -> list[Any]:
    """Every committed record that the topic has now, by partition and offset."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka_bootstrap_servers, isolation_level="read_committed"
    )
    await consumer.start()
    try:
        count = len(await consumer._client._wait_on_metadata(topic))
        partitions = [TopicPartition(topic, number) for number in range(count)]
        consumer.assign(partitions)
        await consumer.seek_to_beginning()
        found: list[Any] = []
        for one, end in (await consumer.end_offsets(partitions)).items():
            while await consumer.position(one) < end:
                found += (await consumer.getmany(one, timeout_ms=100)).get(one, [])
        return found
    finally:
        await consumer.stop()


async def events(settings: Settings, execution_id: str) -> list[Event]:
    """The events of one execution, in the order of the log."""
    found = [decode(record) for record in await records(settings, settings.topics.events)]
    return [one for one in found if isinstance(one, Event) and one.execution_id == execution_id]


async def emit(
    settings: Settings, topic: str, items: Sequence[BaseModel], *, commit: bool = True
) -> None:
    """Write notifications as the processor's relay does, in one transaction."""
    producer = AIOKafkaProducer(
        bootstrap_servers=settings.kafka_bootstrap_servers, transactional_id=f"test-{uuid4()}"
    )
    await producer.start()
    try:
        with suppress(_Undone):
            async with producer.transaction():
                for item in items:
                    key = str(getattr(item, "execution_id", "")).encode()
                    await producer.send_and_wait(topic, item.model_dump_json().encode(), key=key)
                if not commit:
                    raise _Undone
    finally:
        await producer.stop()


class _Undone(Exception):
    pass


def completion(**facts: Any) -> Completion:
    """A completion of a provision that an ECS provider failed at, but for these facts."""
    now = datetime.now(UTC)
    given = {
        "id": str(uuid4()),
        "execution_id": str(uuid4()),
        "tenant": "acme",
        "state": State.FAILED,
        "version": 3,
        "requested": True,
        "operation": "provision",
        "provider": "ecs",
        "first_recorded_at": now,
        "recorded_at": now,
    }
    return Completion(**{**given, **facts})


def command(kind: str, execution_id: str, event_id: str, **facts: Any) -> Command:
    """A command for an execution of the process provider."""
    given = {"id": str(uuid4()), "tenant": "acme", "provider": "process"}
    return Command(
        **{
            **given,
            "command": kind,
            "execution_id": execution_id,
            "event_id": event_id,
            **facts,
        }
    )
