"""`milepost webhooks` as a process: killed, stopped, and without what it needs."""

import asyncio
import os
import time
from pathlib import Path
from statistics import median

import pytest

from cli.conftest import Ended, milepost
from conftest import StartService
from log import completion, emit
from milepost.projections.webhooks import Pool
from milepost.schemas.notifications import Completion
from milepost.settings import Settings
from stack import environment
from webhooks.conftest import Tenant
from webhooks.receiver import Call, Receiver, Reply

KILLS = int(os.environ.get("MILEPOST_TEST_KILLS", "3"))
STATES = ("succeeded", "failed", "cancelled")


@pytest.fixture
def fresh(settings: Settings, request: pytest.FixtureRequest) -> Settings:
    """A group of the test's own."""
    group = f"{settings.consumer_group}-{request.node.name}"
    return settings.model_copy(update={"consumer_group": group})


async def complete(settings: Settings, tenant: str, count: int) -> list[Completion]:
    """So many completions of each state, as the relay sends them."""
    sent: list[Completion] = []
    for state in STATES:
        batch = [completion(tenant=tenant, state=state) for _ in range(count)]
        await emit(settings, settings.topics.completions(state), batch)
        sent += batch
    return sent


async def test_workers_killed_while_they_send_lose_nothing_and_repeat_under_the_same_id(
    acme: Tenant, fresh: Settings, service: StartService, receiver: Receiver, pool: Pool
) -> None:
    """Two side by side; each time it is the longer running one that goes."""
    hooks = [await acme.hook("/a"), await acme.hook("/b", states=["failed"])]

    async def take_its_time(call: Call) -> Reply:
        await asyncio.sleep(0.02)
        return Reply()

    for hook in hooks:
        receiver.answers[hook.path] = take_its_time
    workers = [await service("webhooks", settings=fresh) for _ in range(2)]
    sent: list[Completion] = []
    for _ in range(KILLS):
        before = len(receiver.calls)
        sent += await complete(fresh, acme.name, 30)
        await receiver.until(lambda: len(receiver.calls) >= before + 24)  # noqa: B023
        await workers.pop(0).kill()
        workers.append(await service("webhooks", settings=fresh))
        # What the killed one had taken is due when its lease is over: now.
        await acme.pass_time()
    wanted = {
        "/a": {one.id for one in sent},
        "/b": {one.id for one in sent if one.state == "failed"},
    }
    await receiver.until(
        lambda: all({call.id for call in receiver.of(path)} == wanted[path] for path in wanted)
    )
    assert [await worker.stop() for worker in workers] == [0, 0]
    assert {row["status"] for row in await acme.deliveries()} == {"delivered"}
    bodies = {call.id: call.body for call in receiver.calls}
    assert all(call.body == bodies[call.id] for call in receiver.calls)
    for hook in hooks:
        # At most what was under way when a worker was killed, and what it had not written yet.
        assert len(receiver.of(hook.path)) <= len(wanted[hook.path]) + KILLS * 16


async def test_from_the_topic_to_the_call_takes_no_time_to_speak_of(
    acme: Tenant, fresh: Settings, service: StartService, receiver: Receiver
) -> None:
    await acme.hook("/a")
    worker = await service("webhooks", settings=fresh)
    took = []
    for number in range(1, 12):
        one = completion(tenant=acme.name)
        await emit(fresh, fresh.topics.completions("failed"), [one])
        committed = time.monotonic()
        await receiver.heard("/a", number)
        took.append(time.monotonic() - committed)
    assert receiver.calls[-1].id == one.id
    assert median(took) < 0.5
    assert await worker.stop() == 0


async def test_sigterm_lets_a_call_end_and_gives_back_what_does_not(
    acme: Tenant, fresh: Settings, service: StartService, receiver: Receiver
) -> None:
    quick, slow = await acme.hook("/quick"), await acme.hook("/slow")
    ended = asyncio.Event()

    async def soon(call: Call) -> Reply:
        await asyncio.sleep(0.3)
        return Reply()

    async def late(call: Call) -> Reply:
        await ended.wait()
        return Reply()

    receiver.answers |= {"/quick": soon, "/slow": late}
    worker = await service("webhooks", settings=fresh)
    await acme.owe(quick, slow)
    await receiver.until(lambda: len(receiver.calls) == 2)
    began = time.monotonic()
    assert await worker.stop() == 0
    assert time.monotonic() - began < 10  # when `milepost up` would kill it
    ended.set()
    (delivery,) = await acme.deliveries(quick)
    assert delivery["status"] == "delivered"
    (delivery,) = await acme.deliveries(slow)
    assert (delivery["status"], delivery["attempts"]) == ("pending", 0)
    assert delivery["wait"].total_seconds() <= 0


async def test_sessions_of_the_database_that_are_ended_cost_nothing(
    acme: Tenant, fresh: Settings, service: StartService, receiver: Receiver, pool: Pool
) -> None:
    await acme.hook("/a")
    worker = await service("webhooks", settings=fresh)
    sent = await complete(fresh, acme.name, 20)
    await receiver.heard("/a", 10)
    await pool.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE application_name = 'milepost-webhooks' AND datname = current_database()"
        " AND pid <> pg_backend_pid()"
    )
    sent += await complete(fresh, acme.name, 20)
    await receiver.until(lambda: {call.id for call in receiver.calls} == {one.id for one in sent})
    assert await worker.stop() == 0
    assert {row["status"] for row in await acme.deliveries()} == {"delivered"}


async def test_without_what_it_needs_it_ends_with_one_sentence(
    settings: Settings, postgres: str, tmp_path: Path
) -> None:
    async def start(variable: str, value: str) -> Ended:
        variables = environment(settings) | {variable: value, "MILEPOST_LOG_LEVEL": "error"}
        return await milepost("webhooks", cwd=tmp_path, **variables)

    cases = [
        ("MILEPOST_WEBHOOK_KEYS", "", 1, "set MILEPOST_WEBHOOK_KEYS"),
        ("MILEPOST_KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:9", 69, "no Kafka broker answered"),
        ("MILEPOST_TOPIC_PREFIX", "missing.", 1, "Run `milepost topics apply`"),
        ("MILEPOST_DATABASE_URL", "postgresql://me@127.0.0.1:9/none", 69, "nothing listens there"),
        # A database, without the tables.
        ("MILEPOST_DATABASE_URL", postgres, 1, "Run: milepost db migrate"),
    ]
    endings = await asyncio.gather(*(start(variable, value) for variable, value, *_ in cases))
    for (*_, status, sentence), ended in zip(cases, endings, strict=True):
        # Before it, aiokafka may have said of each attempt that it failed.
        assert sentence in ended.err.splitlines()[-1]
        assert "Traceback" not in ended.err
        assert (ended.status, ended.out) == (status, "")
