"""Workers that come: before their topics do, several at once, more than there are partitions."""

import asyncio

import pytest

from conftest import StartService
from milepost.processor import topics
from milepost.settings import Settings
from processor.history import execution, send
from signals import DEADLINE, following


async def test_two_that_start_at_once_in_a_group_without_offsets(
    settings: Settings, service: StartService
) -> None:
    """What Kafka does not know of, Postgres does; each is told so, whatever the other sets off."""
    workers = await asyncio.gather(service("processor"), service("processor"))
    late = await service("processor")
    for worker in (*workers, late):
        assert await worker.stop() == 0, worker.tail()


async def test_one_without_a_partition_is_ready_and_takes_over(
    settings: Settings, service: StartService
) -> None:
    name = f"{settings.consumer_group}-one"
    settings = settings.model_copy(update={"topic_prefix": f"{name}.", "consumer_group": name})
    await topics.apply(settings, partitions=1)
    workers = await asyncio.gather(*(service("processor", settings=settings) for _ in range(2)))
    late = await service("processor", settings=settings)
    assert [] in [worker.ready["partitions"] for worker in (*workers, late)]
    history = execution("acme", "k-1")
    async with following(settings) as positions:
        await send(settings, history[:2])
        await positions.reach(2)
        # Whichever has it, each in its turn.
        await workers[0].kill()
        await workers[1].stop()
        await send(settings, history[2:])
        await positions.reach(len(history))
    assert await late.stop() == 0, late.tail()


async def test_topics_that_are_being_made(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(topics, "SPREAD", DEADLINE)
    settings = settings.model_copy(update={"topic_prefix": f"{settings.consumer_group}-coming."})
    verifying = asyncio.create_task(topics.verify(settings))
    await topics.apply(settings, partitions=1)
    await verifying
