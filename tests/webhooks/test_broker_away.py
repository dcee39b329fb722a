"""A broker that is killed and comes back: the worker is still there and loses nothing."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from conftest import StartService
from log import completion, emit
from milepost.embedded import EmbeddedKafka
from milepost.processor import topics
from milepost.settings import Settings
from stack import BROKER, variant
from webhooks.conftest import Tenant
from webhooks.receiver import Receiver

pytestmark = pytest.mark.skipif(
    variant() != "embedded", reason="only a broker of our own can be killed"
)


@pytest.fixture
async def own_kafka(tmp_path: Path) -> AsyncIterator[EmbeddedKafka]:
    async with EmbeddedKafka(tmp_path / "kafka", overrides=BROKER) as broker:
        yield broker


async def test_it_is_waited_for(
    acme: Tenant,
    settings: Settings,
    own_kafka: EmbeddedKafka,
    service: StartService,
    receiver: Receiver,
) -> None:
    settings = settings.model_copy(update={"kafka_bootstrap_servers": own_kafka.bootstrap_servers})
    await topics.apply(settings, partitions=1)
    worker = await service("webhooks", settings=settings)
    hook = await acme.hook("/a")
    await emit(settings, settings.topics.completions("failed"), [completion(tenant=acme.name)])
    await receiver.heard("/a")
    await own_kafka.kill()
    # What is in the database goes on being sent.
    await acme.owe(hook)
    await receiver.heard("/a", 2)
    await own_kafka.start()
    last = completion(tenant=acme.name)
    await emit(settings, settings.topics.completions("failed"), [last])
    *_, call = await receiver.heard("/a", 3)
    assert call.id == last.id
    assert await worker.stop() == 0
