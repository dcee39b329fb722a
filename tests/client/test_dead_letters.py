"""What a group cannot do is put aside after so many attempts, and the group goes on."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from log import completion, records
from milepost.client import MilepostError, Subscriber, dead_letters, processing
from milepost.client.progress import Progress
from milepost.schemas.notifications import Completion
from milepost.schemas.values import State
from milepost.settings import Settings
from stack import first
from subscribing import WITHIN, Handler, committed, ended, of_one_execution, publish


class Poison(Exception):
    pass


@pytest.fixture
def group() -> str:
    return f"group-{uuid4().hex[:8]}"


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processing, "_FIRST_WAIT_SECONDS", 0.01)


def subscriber(settings: Settings, group: str, **options: Any) -> Subscriber:
    return Subscriber(settings, group=group, states={"failed"}, **options)


async def put_aside(settings: Settings, group: str, count: int = 1) -> list[Any]:
    """The records on the dead-letter topic, when there are so many."""
    found = await records(settings, settings.topics.dead_letters(group).name)
    assert len(found) == count
    return found


async def test_a_body_that_always_raises_is_bounded_over_restarts(
    broker_settings: Settings, group: str
) -> None:
    poison, healthy = of_one_execution(2)
    async with subscriber(broker_settings, group):
        pass  # the group begins here
    await publish(broker_settings, poison, healthy)

    async def fail() -> None:
        async with subscriber(broker_settings, group, attempts=3) as completions:
            assert await first(completions) == poison
            raise Poison("no " * 1_000)

    for _ in range(3):
        with pytest.raises(Poison):
            await fail()
    async with subscriber(broker_settings, group, attempts=3) as completions:
        assert await first(completions) == healthy

    [record] = await put_aside(broker_settings, group)
    topic = broker_settings.topics.completions(State.FAILED)
    [original] = [
        one
        for one in await records(broker_settings, topic)
        if poison.id.encode() in (one.value or b"")
    ]
    headers = dict(record.headers)
    assert (record.key, record.value) == (original.key, original.value)
    assert headers["ce_id"] == poison.id.encode()
    assert headers["milepost-error"].endswith(b".Poison")
    assert headers["milepost-message"] == ("no " * 1_000)[:1_000].encode()
    assert headers["milepost-attempts"] == b"3"
    origin = f"{topic}/{original.partition}/{original.offset}"
    assert headers["milepost-origin"] == origin.encode()

    [letter] = await dead_letters.waiting(broker_settings, group)
    assert letter.id == poison.id
    assert letter.execution_id == poison.execution_id
    assert letter.tenant == "acme"
    assert (letter.offset, letter.attempts, letter.origin) == (0, 3, origin)


async def test_an_interruption_is_no_attempt(broker_settings: Settings, group: str) -> None:
    async with subscriber(broker_settings, group):
        pass
    one = completion()
    await publish(broker_settings, one)

    async def interrupted() -> None:
        async with subscriber(broker_settings, group, attempts=1) as completions:
            assert await first(completions) == one
            raise asyncio.CancelledError

    for _ in range(3):
        with pytest.raises(asyncio.CancelledError):
            await interrupted()
    await put_aside(broker_settings, group, count=0)


async def test_a_new_loop_over_the_same_reader_counts(
    broker_settings: Settings, group: str
) -> None:
    poison, healthy = of_one_execution(2)
    async with subscriber(broker_settings, group, attempts=3) as completions:
        await publish(broker_settings, poison, healthy)
        seen = [(await first(completions)).id for _ in range(4)]
    assert seen == [poison.id] * 3 + [healthy.id]
    [record] = await put_aside(broker_settings, group)
    assert dict(record.headers)["milepost-error"].endswith(b"Unfinished")


async def test_processing_puts_aside_and_goes_on(broker_settings: Settings, group: str) -> None:
    poison, healthy = of_one_execution(2)

    async def fail(item: Completion) -> None:
        if item.id == poison.id:
            raise Poison

    handler = Handler(fail)
    async with subscriber(broker_settings, group, attempts=3) as completions:
        await publish(broker_settings, poison, healthy)
        working = asyncio.create_task(completions.process(handler))
        await handler.until(healthy)
        await ended(working)
    assert handler.seen == [poison.id] * 3 + [healthy.id]
    [letter] = await dead_letters.waiting(broker_settings, group)
    assert (letter.id, letter.attempts) == (poison.id, 3)


async def test_processing_remembers_attempts_over_a_restart(
    broker_settings: Settings, group: str
) -> None:
    poison, healthy = of_one_execution(2)

    async def fail(item: Completion) -> None:
        if item.id == poison.id:
            raise Poison

    handler = Handler(fail)
    for attempts, until, times in ((9, poison, 2), (4, healthy, 1)):
        async with subscriber(broker_settings, group, attempts=attempts) as completions:
            if not handler.seen:
                await publish(broker_settings, poison, healthy)
            working = asyncio.create_task(completions.process(handler))
            await handler.until(until, times=times)
            await ended(working)
        if until is poison:
            before = handler.seen.count(poison.id)
    assert before < 4
    assert handler.seen == [poison.id] * 4 + [healthy.id]


async def test_what_cannot_be_read_is_put_aside_and_quoted_nowhere(
    broker_settings: Settings, group: str, caplog: pytest.LogCaptureFixture
) -> None:
    topic = broker_settings.topics.completions(State.FAILED)
    healthy = completion()
    async with subscriber(broker_settings, group) as completions:
        producer = AIOKafkaProducer(
            bootstrap_servers=broker_settings.kafka_bootstrap_servers,
            compression_type="gzip",
            max_request_size=3_000_000,
        )
        await producer.start()
        foreign: list[bytes | None] = [b'{"password": 1}', None, b"x" * 2_000_000]
        for value in foreign:
            await producer.send_and_wait(topic, value, key=healthy.execution_id.encode())
        await producer.stop()
        await publish(broker_settings, healthy)
        assert await first(completions) == healthy
    found = await put_aside(broker_settings, group, count=3)
    assert [one.value for one in found] == [b'{"password": 1}', None, None]
    assert dict(found[2].headers)["milepost-omitted-bytes"] == b"2000036"
    letters = await dead_letters.waiting(broker_settings, group)
    assert [(one.attempts, one.id) for one in letters] == [(0, None)] * 3
    assert letters[0].message == "execution_id: Field required"
    assert "password" not in caplog.text


async def test_dead_letters_are_tried_again_and_then_there_is_an_end(
    broker_settings: Settings, group: str
) -> None:
    lasting, passing, healthy = of_one_execution(3)
    handler = Handler(_raising({lasting.id, passing.id}))
    async with subscriber(broker_settings, group, attempts=2) as completions:
        await publish(broker_settings, lasting, passing, healthy)
        working = asyncio.create_task(completions.process(handler))
        await handler.until(healthy)
        await ended(working)

    again = Handler(_raising({lasting.id}))
    async with (
        asyncio.timeout(WITHIN),
        subscriber(broker_settings, group, attempts=2, dead_letters=True) as completions,
    ):
        await completions.process(again)
    assert again.seen == [lasting.id, lasting.id, passing.id]
    [letter] = await dead_letters.waiting(broker_settings, group)
    assert (letter.id, letter.attempts, letter.offset) == (lasting.id, 4, 2)
    assert letter.origin.startswith(broker_settings.topics.completions(State.FAILED))

    async with asyncio.timeout(WITHIN):
        async with subscriber(broker_settings, group, dead_letters=True) as completions:
            assert [one.id async for one in completions] == [lasting.id]
    assert await dead_letters.waiting(broker_settings, group) == []
    # The group itself has not moved, and has nothing to do again.
    places = await committed(broker_settings, group)
    async with subscriber(broker_settings, group) as completions:
        one = completion()
        await publish(broker_settings, one)
        assert await first(completions) == one
    assert places


def _raising(ids: set[str]) -> Callable[[Completion], Awaitable[None]]:
    async def fail(item: Completion) -> None:
        if item.id in ids:
            raise Poison

    return fail


async def test_the_topic_is_as_the_contract_says(broker_settings: Settings, group: str) -> None:
    async with subscriber(broker_settings, group):
        pass
    topic = broker_settings.topics.dead_letters(group)
    admin = AIOKafkaAdminClient(bootstrap_servers=broker_settings.kafka_bootstrap_servers)
    await admin.start()
    try:
        [answer] = await admin.describe_configs(
            [ConfigResource(ConfigResourceType.TOPIC, topic.name)]
        )
    finally:
        await admin.close()
    found = {entry[0]: entry[1] for entry in answer.resources[0][4]}
    assert {name: found[name] for name in topic.config()} == topic.config()
    assert found["message.timestamp.type"] == "LogAppendTime"
    assert found["retention.ms"] == str(30 * 86_400_000)


def test_what_makes_no_sense_is_refused(broker_settings: Settings) -> None:
    with pytest.raises(ValueError, match="letters, digits"):
        Subscriber(broker_settings, group="two words")
    with pytest.raises(ValueError, match="attempts"):
        Subscriber(broker_settings, group="g", attempts=0)
    with pytest.raises(ValueError, match="which group"):
        Subscriber(broker_settings, dead_letters=True)


async def test_without_a_group_there_is_no_processing(broker_settings: Settings) -> None:
    with pytest.raises(MilepostError, match="needs a group"):
        await Subscriber(broker_settings).process(Handler())


def test_counts_are_kept_within_what_a_broker_takes() -> None:
    partition = TopicPartition("t", 0)
    progress = Progress()
    progress.recall(partition, "another program's")
    for offset in range(500):
        progress.begin(partition, 10**15 + offset)
        progress.fail(partition, 10**15 + offset)
    offset, text = progress.places()[partition]
    assert offset == 10**15
    assert len(text) < 4_096
    later = Progress()
    later.recall(partition, text)
    assert later.fail(partition, 10**15) == 2
    assert later.fail(partition, 10**15 + 499) == 1
