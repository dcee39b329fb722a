"""Where reading starts."""

from contextlib import suppress
from datetime import datetime
from typing import Literal

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import CommitFailedError

Start = Literal["latest", "earliest"] | datetime


async def begin(
    consumer: AIOKafkaConsumer, topics: list[str], start: Start, *, group: bool
) -> list[TopicPartition]:
    """Assign all partitions and go to `start`; a `group` commits it where it has nothing committed.

    Returns the partitions.
    """
    partitions = [
        TopicPartition(topic, partition)
        for topic in topics
        for partition in await consumer._client._wait_on_metadata(topic)
    ]
    consumer.assign(partitions)
    if not group:
        for partition, offset in (await _offsets(consumer, partitions, start)).items():
            consumer.seek(partition, offset)
        return partitions
    new = [one for one in partitions if await consumer.committed(one) is None]
    if offsets := await _offsets(consumer, new, start):
        # It fails where the group has members: they have been here before.
        with suppress(CommitFailedError):
            await consumer.commit(offsets)
    return partitions


async def _offsets(
    consumer: AIOKafkaConsumer, partitions: list[TopicPartition], start: Start
) -> dict[TopicPartition, int]:
    if not partitions:
        return {}
    if start == "earliest":
        earliest: dict[TopicPartition, int] = await consumer.beginning_offsets(partitions)
        return earliest
    latest: dict[TopicPartition, int] = await consumer.end_offsets(partitions)
    if start == "latest":
        return latest
    assert isinstance(start, datetime)
    since = int(start.timestamp() * 1_000)
    found = await consumer.offsets_for_times(dict.fromkeys(partitions, since))
    return {one: found[one].offset if found[one] else latest[one] for one in partitions}
