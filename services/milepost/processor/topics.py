"""Makes the broker's topics agree with the ones declared in the contract, and checks that they do."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import TopicAlreadyExistsError, UnknownTopicOrPartitionError, for_code

from milepost.client import broker
from milepost.schemas.topics import Topic, Topics
from milepost.settings import Settings

# Seconds in which a topic that was made just now gets known everywhere, and between two looks.
SPREAD: Final = 2.0
PAUSE: Final = 0.2


class Applied(NamedTuple):
    """What `apply` did to one topic: created, changed or unchanged."""

    name: str
    outcome: str


class Difference(NamedTuple):
    """Where the broker's topic is not as declared: it has `setting` as `found`, not as `wanted`.

    `setting` is None where there is no such topic.
    """

    topic: str
    setting: str | None = None
    found: str = ""
    wanted: str = ""

    def __str__(self) -> str:
        if self.setting is None:
            return f"{self.topic} does not exist"
        return f"{self.topic} has {self.setting}={self.found}, not {self.wanted}"


class TopicsDiffer(Exception):
    """Topics are missing or configured otherwise than the contract says."""


@asynccontextmanager
async def connected(settings: Settings) -> AsyncIterator[AIOKafkaAdminClient]:
    """An administration client.

    Raises KafkaConnectionError when no broker answers, BrokerRefused when it does not let us in.
    """
    admin = AIOKafkaAdminClient(**broker.connection(settings), request_timeout_ms=10_000)
    try:
        async with broker.connecting(settings):
            await admin.start()
        yield admin
    finally:
        await admin.close()


async def apply(settings: Settings, *, partitions: int, replication: int = 1) -> list[Applied]:
    """Create the topics that are missing and set the configuration of the others.

    `partitions` counts for new topics only: more partitions would move keys of running executions.
    Raises aiokafka.errors.KafkaError when the broker is away or refuses.
    """
    async with connected(settings) as admin:
        existing = set(await admin.list_topics())
        applied = []
        for topic in settings.topics.declared():
            if topic.name not in existing:
                outcome = await _create(admin, topic, partitions, replication)
            elif await _differences(admin, topic):
                resource = ConfigResource(ConfigResourceType.TOPIC, topic.name, topic.config())
                await admin.alter_configs([resource])
                outcome = "changed"
            else:
                outcome = "unchanged"
            applied.append(Applied(topic.name, outcome))
        return applied


async def verify(settings: Settings) -> None:
    """Raise TopicsDiffer, naming every difference, unless the topics are as declared within seconds."""
    deadline = time.monotonic() + SPREAD
    async with connected(settings) as admin:
        while found := await differences(admin, settings.topics):
            if time.monotonic() > deadline:
                raise TopicsDiffer("; ".join(map(str, found)) + ". Run: milepost topics apply")
            await asyncio.sleep(PAUSE)


async def differences(admin: AIOKafkaAdminClient, topics: Topics) -> list[Difference]:
    """Everything that is not as declared. Raises aiokafka.errors.KafkaError."""
    existing = set(await admin.list_topics())
    found = []
    for topic in topics.declared():
        if topic.name in existing:
            found += await _differences(admin, topic)
        else:
            found.append(Difference(topic.name))
    return found


async def _create(
    admin: AIOKafkaAdminClient, topic: Topic, partitions: int, replication: int
) -> str:
    new = NewTopic(topic.name, partitions, replication, topic_configs=topic.config())
    try:
        response = await admin.create_topics([new])
    except TopicAlreadyExistsError:  # somebody was faster
        return "unchanged"
    for _, code, *message in response.topic_errors:
        if code and code != TopicAlreadyExistsError.errno:
            raise for_code(code)(f"{topic.name}: {message[0] if message else 'refused'}")
    return "created"


async def _differences(admin: AIOKafkaAdminClient, topic: Topic) -> list[Difference]:
    [answer] = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic.name)])
    [(code, message, _, _, entries)] = answer.resources
    if code == UnknownTopicOrPartitionError.errno:
        return [Difference(topic.name)]
    if code:
        raise for_code(code)(f"{topic.name}: {message}")
    found = {entry[0]: entry[1] for entry in entries}
    return [
        Difference(topic.name, setting, str(found.get(setting)), wanted)
        for setting, wanted in topic.config().items()
        if found.get(setting) != wanted
    ]
