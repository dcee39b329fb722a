"""From the completion topics into the database: what is wanted by whom, once however often it comes."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import uuid4

import orjson
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import CommitFailedError
from structlog.testing import capture_logs

from log import completion, emit
from milepost.client import State
from milepost.monitoring import Checks
from milepost.projections import webhooks
from milepost.projections.webhooks import Offer, Pool
from milepost.schemas.notifications import Completion
from milepost.schemas.webhooks import CompletionMessage
from milepost.settings import Settings
from milepost.webhooks.intake import Intake, offers
from signals import DEADLINE
from webhooks.conftest import Hook, Tenant

NOW = datetime.now(UTC)


class Record(NamedTuple):
    """As the consumer gives it, as far as it matters."""

    value: bytes | None
    timestamp: int = 1_700_000_000_000
    topic: str = "failed"
    partition: int = 0
    offset: int = 7
    headers: tuple[tuple[str, bytes], ...] = ()


def offered(*completions: Completion, at: datetime | None = None) -> list[Offer]:
    """These completions, recorded at that time, or now."""
    stamp = int((at or datetime.now(UTC)).timestamp() * 1_000)
    return list(offers(Record(one.model_dump_json().encode(), stamp) for one in completions))


async def test_a_message_is_stored_once_with_a_delivery_to_each(acme: Tenant, pool: Pool) -> None:
    hooks = [await acme.hook("/a"), await acme.hook("/b")]
    one = completion(tenant=acme.name, parameters={"é": 1.5})
    assert await webhooks.take_in(pool, offered(one)) == 2
    (message,) = await pool.fetch("SELECT * FROM webhook_messages")
    assert message["message_id"] == one.id
    assert str(message["execution_id"]) == one.execution_id
    assert message["type"] == "milepost.completion.failed.v1"
    payload = orjson.loads(message["payload"])
    assert payload["type"] == message["type"]
    assert message["payload"].endswith(b'"data":' + one.model_dump_json().encode() + b"}")
    CompletionMessage.model_validate_json(message["payload"])
    rows = await acme.deliveries()
    assert {row["endpoint_id"] for row in rows} == {hook.id for hook in hooks}
    assert {(row["status"], row["attempts"]) for row in rows} == {("pending", 0)}


async def test_again_changes_nothing(acme: Tenant, pool: Pool) -> None:
    await acme.hook("/a")
    batch = offered(*(completion(tenant=acme.name) for _ in range(3)))
    assert await webhooks.take_in(pool, batch + batch[:1]) == 3
    before = await acme.deliveries()
    await pool.execute("UPDATE webhook_deliveries SET status = 'delivered', due_at = NULL")
    assert await webhooks.take_in(pool, batch) == 0
    after = await acme.deliveries()
    assert [row["delivery_id"] for row in after] == [row["delivery_id"] for row in before]
    assert {row["status"] for row in after} == {"delivered"}


async def test_two_workers_that_take_in_the_same(acme: Tenant, pool: Pool) -> None:
    for path in "abc":
        await acme.hook(f"/{path}")
    batch = offered(*(completion(tenant=acme.name) for _ in range(50)))
    added = await asyncio.gather(webhooks.take_in(pool, batch), webhooks.take_in(pool, batch[::-1]))
    assert sum(added) == len(await acme.deliveries()) == 150


@pytest.mark.parametrize(
    ("endpoint", "facts", "wanted"),
    [
        ({"states": ["failed"]}, {"state": State.FAILED}, True),
        ({"states": ["failed"]}, {"state": State.CANCELLED}, False),
        ({"operations": ["provision", "update"]}, {"operation": "update"}, True),
        ({"operations": ["provision"]}, {"operation": "update"}, False),
        # Not known yet: it may be what is wanted.
        ({"operations": ["provision"]}, {"operation": None, "requested": False}, True),
        ({"states": ["failed"], "operations": ["update"]}, {"operation": "provision"}, False),
    ],
)
async def test_filters(
    acme: Tenant, pool: Pool, endpoint: dict[str, Any], facts: dict[str, Any], wanted: bool
) -> None:
    await acme.hook("/a", **endpoint)
    batch = offered(completion(tenant=acme.name, **facts))
    assert await webhooks.take_in(pool, batch) == wanted
    assert await acme.message_types() == [batch[0].message.type] * wanted


@pytest.mark.parametrize(
    ("made_after", "wanted"), [(-3_600, True), (0, True), (4, True), (6, False), (3_600, False)]
)
async def test_what_is_older_than_the_endpoint_is_not_for_it(
    acme: Tenant, pool: Pool, made_after: float, wanted: bool
) -> None:
    """Give or take what the clocks of the broker and the API may differ by."""
    await acme.hook("/a", created_at=NOW + timedelta(seconds=made_after))
    batch = offered(completion(tenant=acme.name), at=NOW)
    assert await webhooks.take_in(pool, batch) == wanted


async def test_other_tenants_and_disabled_endpoints_get_nothing(acme: Tenant, pool: Pool) -> None:
    hook = await acme.hook("/a")
    assert await webhooks.take_in(pool, offered(completion(tenant="another"))) == 0
    await acme.change(hook, disabled_at=NOW, disabled_reason="asked")
    assert await webhooks.take_in(pool, offered(completion(tenant=acme.name))) == 0
    assert await pool.fetch("SELECT FROM webhook_messages") == []


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"\xff",
        b"[]",
        b"{}",
        completion(state=State.RUNNING).model_dump_json().encode(),
        completion(tenant="not\0one").model_dump_json().encode(),
        completion(tenant="").model_dump_json().encode(),
        completion(execution_id="7").model_dump_json().encode(),
        completion(id="").model_dump_json().encode(),
        # Headers have nothing but visible ASCII: such a one could never be sent.
        completion(id="\u00e9").model_dump_json().encode(),
        completion(id="1\nx: 2").model_dump_json().encode(),
        completion(operation="\0").model_dump_json().encode(),
        completion().model_dump_json().encode()[:-1],
    ],
)
def test_a_record_that_is_no_completion_is_logged_with_its_place_and_skipped(
    value: bytes | None,
) -> None:
    good = completion()
    with capture_logs() as lines:
        found = list(offers([Record(value), Record(good.model_dump_json().encode())]))
    assert [one.message.message_id for one in found] == [good.id]
    (line,) = lines
    assert (line["topic"], line["partition"], line["offset"]) == ("failed", 0, 7)
    assert line["log_level"] == "warning"


def test_what_a_bad_record_carries_is_not_logged() -> None:
    bad = completion(execution_id="7", outputs={"password": "hunter2"}).model_dump_json()
    with capture_logs() as lines:
        assert list(offers([Record(bad.encode())])) == []
    assert "hunter2" not in str(lines)


TakingIn = Callable[[Settings], AbstractAsyncContextManager[asyncio.Event]]


@pytest.fixture
def taking_in(pool: Pool) -> TakingIn:
    """While the block runs, a member of the group takes completions in; set: some were wanted."""

    @asynccontextmanager
    async def take(settings: Settings) -> AsyncIterator[asyncio.Event]:
        added, ready = asyncio.Event(), asyncio.Event()
        reading = asyncio.create_task(Intake(settings, pool, added.set, Checks()).run(ready.set))
        try:
            async with asyncio.timeout(DEADLINE):
                await ready.wait()
            yield added
        finally:
            reading.cancel()
            await asyncio.wait([reading])

    return take


@pytest.fixture
def fresh(settings: Settings) -> Settings:
    """A group of the test's own."""
    return settings.model_copy(update={"consumer_group": f"test-{uuid4().hex[:8]}"})


async def test_what_the_topics_have_and_what_comes_is_taken_in(
    acme: Tenant, fresh: Settings, taking_in: TakingIn
) -> None:
    """Also what came after the endpoint was made and before any worker ran."""
    hook = await acme.hook("/a")
    expected = [completion(tenant=acme.name, state=state) for state in ("failed", "cancelled")]
    await send(fresh, *expected)
    async with taking_in(fresh) as added:
        await _until(acme, hook, 2, added)
        expected.append(completion(tenant=acme.name, state=State.SUCCEEDED))
        await emit(fresh, fresh.topics.completions("succeeded"), expected[2:])
        await _until(acme, hook, 3, added)
    stored = {row["message_id"] for row in await acme.deliveries(hook)}
    assert stored == {one.id for one in expected}


async def send(settings: Settings, *completions: Completion) -> None:
    for one in completions:
        await emit(settings, settings.topics.completions(one.state), [one])


async def _until(acme: Tenant, hook: Hook, count: int, added: asyncio.Event) -> None:
    async with asyncio.timeout(DEADLINE):
        while len(await acme.deliveries(hook)) < count:
            await added.wait()
            added.clear()


async def test_what_was_stored_and_not_committed_comes_again_harmlessly(
    acme: Tenant, fresh: Settings, taking_in: TakingIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a kill between the two, or where another member had taken the partition over."""
    hook = await acme.hook("/a")
    # One execution, so one partition: the later one comes last.
    first = completion(tenant=acme.name)
    second = completion(tenant=acme.name, execution_id=first.execution_id)

    async def refuse(self: AIOKafkaConsumer, offsets: object = None) -> None:
        raise CommitFailedError

    await send(fresh, first)
    with monkeypatch.context() as patched:
        patched.setattr(AIOKafkaConsumer, "commit", refuse)
        async with taking_in(fresh) as added:
            await _until(acme, hook, 1, added)
    (before,) = await acme.deliveries(hook)
    await send(fresh, second)
    async with taking_in(fresh) as added:
        await _until(acme, hook, 2, added)
    stored = {row["message_id"]: row["delivery_id"] for row in await acme.deliveries(hook)}
    assert stored.keys() == {first.id, second.id}
    assert stored[first.id] == before["delivery_id"]


async def test_a_bad_record_stops_nothing_and_what_is_not_committed_is_not_seen(
    acme: Tenant, fresh: Settings, taking_in: TakingIn
) -> None:
    hook = await acme.hook("/a")
    topic = fresh.topics.completions("failed")
    undone, good = completion(tenant=acme.name), completion(tenant=acme.name)
    await emit(fresh, topic, [undone], commit=False)
    producer = AIOKafkaProducer(bootstrap_servers=fresh.kafka_bootstrap_servers)
    await producer.start()
    await producer.send_and_wait(topic, b"no completion", key=good.execution_id.encode())
    await producer.stop()
    await send(fresh, good)
    async with taking_in(fresh) as added:
        await _until(acme, hook, 1, added)
    assert [row["message_id"] for row in await acme.deliveries(hook)] == [good.id]
