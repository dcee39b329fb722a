"""Deliveries on their way: who gets what, in which order, and what is made of the answer."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from standardwebhooks.webhooks import WebhookVerificationError
from structlog.testing import capture_logs

from milepost.projections import endpoints, webhooks
from milepost.projections.webhooks import Claim, Message, Pool
from milepost.schemas.webhooks import WebhookDisabledMessage, new_secret
from milepost.webhooks import schedule, sender
from signals import DEADLINE
from webhooks.conftest import Hook, Sending, Tenant
from webhooks.receiver import Answer, Call, Receiver, Reply


def always(status: int, *headers: str) -> Answer:
    """Answer this, whatever comes."""

    async def answer(call: Call) -> Reply:
        return Reply(status, headers)

    return answer


@pytest.fixture
def held() -> asyncio.Event:
    """Set: endpoints that answer with `holding` answer."""
    return asyncio.Event()


@pytest.fixture
def holding(held: asyncio.Event) -> Answer:
    async def answer(call: Call) -> Reply:
        await held.wait()
        return Reply()

    return answer


async def test_a_message_arrives_signed_and_as_it_was_stored(
    acme: Tenant, receiver: Receiver, sending: Sending
) -> None:
    hook = await acme.hook("/a")
    async with sending():
        (message,) = await acme.owe(hook)
        (call,) = await receiver.heard("/a")
    call.verify(hook.secret)
    assert (call.id, call.body) == (message.message_id, message.payload)
    (delivery,) = await acme.deliveries()
    assert (delivery["status"], delivery["attempts"], delivery["due_at"]) == ("delivered", 1, None)
    assert delivery["ended_at"] is not None
    (attempt,) = await acme.attempts()
    assert (attempt["status_code"], attempt["error"]) == (200, None)
    assert attempt["delivery_id"] == delivery["delivery_id"]


async def test_the_whole_life_of_a_delivery(
    acme: Tenant, receiver: Receiver, sending: Sending
) -> None:
    """Each wait is as the schedule says, and is then passed by moving the clock."""
    hook = await acme.hook("/a")
    receiver.answers["/a"] = always(503)
    (message,) = await acme.owe(hook)
    whole = timedelta()
    for number in range(1, 16):
        async with sending():
            await receiver.heard("/a", number)
        (delivery,) = await acme.deliveries()
        assert delivery["attempts"] == number
        if number < 15:
            assert delivery["status"] == "pending"
            step = schedule.STEPS[number - 1]
            assert 0.9 * step - 5 < delivery["wait"].total_seconds() < 1.1 * step + 1
            whole += delivery["wait"]
            await acme.pass_time()
    assert (delivery["status"], delivery["due_at"]) == ("failed", None)
    assert timedelta(hours=68) < whole < timedelta(hours=84)
    assert {call.id for call in receiver.calls} == {message.message_id}
    assert len(await acme.attempts()) == 15


class Later(datetime):
    """The clock, a minute on."""

    @classmethod
    def now(cls, tz: Any = None) -> Any:
        return datetime.now(tz) + timedelta(minutes=1)


async def test_each_attempt_is_signed_anew(
    acme: Tenant, receiver: Receiver, sending: Sending, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook = await acme.hook("/a")
    receiver.answers["/a"] = always(500)
    await acme.owe(hook)
    async with sending():
        await receiver.heard("/a")
    await acme.pass_time()
    monkeypatch.setattr(sender, "datetime", Later)
    async with sending():
        first, second = await receiver.heard("/a", 2)
    second.verify(hook.secret)
    assert first.id == second.id
    first_at, second_at = (int(call.headers["webhook-timestamp"]) for call in (first, second))
    assert second_at >= first_at + 60


async def test_a_slow_endpoint_delays_no_other(
    acme: Tenant, receiver: Receiver, sending: Sending, held: asyncio.Event, holding: Answer
) -> None:
    slow, quick = await acme.hook("/slow"), await acme.hook("/quick")
    receiver.answers["/slow"] = holding
    async with sending():
        await acme.owe(slow, count=30)
        await receiver.heard("/slow", sender.PER_ENDPOINT)
        await acme.owe(quick, count=30)
        await receiver.heard("/quick", 30)
        assert receiver.under_way["/slow"] == sender.PER_ENDPOINT
        held.set()
        await receiver.heard("/slow", 30)
    assert receiver.most_under_way["/slow"] == sender.PER_ENDPOINT
    assert {row["status"] for row in await acme.deliveries()} == {"delivered"}


async def test_where_there_is_little_room_the_first_call_of_each_comes_before_the_second_of_any(
    acme: Tenant, pool: Pool, tenant: str
) -> None:
    hooks = [await acme.hook(f"/{number}") for number in range(3)]
    await acme.owe(hooks[0], count=10)
    await acme.owe(*hooks[1:], count=5)
    first = _count(await _claim(pool, most=4), hooks)
    assert sorted(first) == [1, 1, 2]
    # What is under way counts.
    busy = {(tenant, hooks[0].id): 7, (tenant, hooks[1].id): 8}
    second = _count(await _claim(pool, busy, most=100), hooks)
    assert second == [1, 0, 5 - first[2]]


async def test_many_endpoints_of_one_tenant_delay_no_other_tenant(
    acme: Tenant, globex: Tenant, pool: Pool
) -> None:
    theirs = [await acme.hook(f"/{number}") for number in range(10)]
    await acme.owe(*theirs, count=8)
    ours = await globex.hook("/ours")
    await globex.owe(ours, count=2)
    # The tenant has room for three more; the other's come among them, not behind.
    busy = {(acme.name, hook.id): 2 for hook in theirs[:8]} | {(acme.name, theirs[8].id): 1}
    claims = await _claim(pool, busy, most=100)
    assert sum(claim.tenant == acme.name for claim in claims) == 3
    assert _count(claims, [theirs[9], ours]) == [2, 2]


async def _claim(
    pool: Pool, busy: dict[tuple[str, UUID], int] | None = None, *, most: int
) -> list[Claim]:
    lease = timedelta(seconds=60)
    return await webhooks.claim(
        pool, busy or {}, per_endpoint=8, per_tenant=20, most=most, lease=lease
    )


def _count(claims: list[Claim], hooks: list[Hook]) -> list[int]:
    return [sum(claim.endpoint_id == hook.id for claim in claims) for hook in hooks]


async def test_an_endpoint_that_does_not_answer_gets_one_call_at_a_time(
    acme: Tenant, receiver: Receiver, sending: Sending
) -> None:
    hook = await acme.hook("/a")
    receiver.answers["/a"] = always(503)
    await acme.owe(hook)
    async with sending():
        await receiver.heard("/a")
    failing_since = (await acme.endpoint(hook)).failing_since
    assert failing_since is not None
    receiver.most_under_way.clear()
    async with sending():
        await acme.owe(hook, count=5)
        await receiver.heard("/a", 6)
    assert receiver.most_under_way == {"/a": 1}
    assert (await acme.endpoint(hook)).failing_since == failing_since


async def test_once_something_arrives_it_fails_no_more(
    acme: Tenant, receiver: Receiver, sending: Sending
) -> None:
    hook = await acme.hook("/a", failing_since=None)
    receiver.answers["/a"] = always(503)
    await acme.owe(hook)
    async with sending():
        await receiver.heard("/a")
    del receiver.answers["/a"]
    await acme.pass_time()
    async with sending():
        await receiver.heard("/a", 2)
    assert (await acme.endpoint(hook)).failing_since is None
    assert [row["status_code"] for row in await acme.attempts()] == [503, 200]


@pytest.mark.parametrize(
    ("status", "headers", "least"),
    [
        (429, ("retry-after: 3600",), 3_600),
        (503, ("retry-after: 1",), 4.5),
        (429, ("retry-after: 9999999",), 86_400),
        (302, ("location: /elsewhere",), 4.5),
        (404, (), 4.5),
    ],
)
async def test_an_answer_that_is_not_2xx_is_tried_again_when_it_asks_to_be(
    acme: Tenant,
    receiver: Receiver,
    sending: Sending,
    status: int,
    headers: tuple[str, ...],
    least: float,
) -> None:
    hook = await acme.hook("/a")
    receiver.answers["/a"] = always(status, *headers)
    await acme.owe(hook)
    async with sending():
        await receiver.heard("/a")
    (delivery,) = await acme.deliveries()
    assert delivery["status"] == "pending"
    assert least - 5 < delivery["wait"].total_seconds() < least + 1.5
    assert [call.path for call in receiver.calls] == ["/a"]
    (attempt,) = await acme.attempts()
    assert attempt["status_code"] == status


async def test_nobody_listens(acme: Tenant, receiver: Receiver, sending: Sending) -> None:
    absent, other = await acme.hook("/a", url="http://127.0.0.1:9/"), await acme.hook("/b")
    await acme.owe(absent, other)
    async with sending():
        await receiver.heard("/b")
    (delivery,) = await acme.deliveries(absent)
    assert (delivery["status"], delivery["attempts"]) == ("pending", 1)
    (attempt,) = [row for row in await acme.attempts() if row["status_code"] is None]
    assert attempt["delivery_id"] == delivery["delivery_id"]
    assert attempt["error"]


async def test_a_rotated_secret_signs_beside_the_new_one_until_it_ends(
    acme: Tenant, receiver: Receiver, sending: Sending
) -> None:
    hook, secret = await acme.hook("/a"), new_secret()
    now = datetime.now(UTC)
    await acme.sign_with(hook, secret, end=now + timedelta(hours=1))
    async with sending():
        await acme.owe(hook)
        (call,) = await receiver.heard("/a")
    assert len(call.headers["webhook-signature"].split()) == 2
    call.verify(hook.secret)
    call.verify(secret)

    newest = new_secret()
    await acme.sign_with(hook, newest, end=now)
    async with sending():
        await acme.owe(hook)
        _, call = await receiver.heard("/a", 2)
    call.verify(newest)
    for ended in (hook.secret, secret):
        with pytest.raises(WebhookVerificationError):
            call.verify(ended)


async def test_410_disables_the_endpoint_and_the_others_hear_of_it(
    acme: Tenant, receiver: Receiver, sending: Sending
) -> None:
    gone, other, off = [await acme.hook(path) for path in ("/gone", "/other", "/off")]
    await _disable(acme, off)
    receiver.answers["/gone"] = always(410)
    messages = await acme.owe(gone)
    async with sending():
        await receiver.heard("/gone")
        (notice,) = await receiver.heard("/other")
    endpoint = await acme.endpoint(gone)
    assert endpoint.disabled_reason == "gone"
    assert endpoint.disabled_at is not None
    (delivery,) = await acme.deliveries(gone)
    assert (delivery["status"], delivery["attempts"]) == ("cancelled", 1)
    told = WebhookDisabledMessage.model_validate_json(notice.body)
    assert (told.data.endpoint_id, told.data.reason) == (str(gone.id), "gone")
    assert notice.id == told.data.id
    assert notice.id != messages[0].message_id
    notice.verify(other.secret)
    assert await acme.deliveries(off) == []


async def _disable(acme: Tenant, hook: Hook) -> None:
    await acme.change(hook, disabled_at=datetime.now(UTC), disabled_reason="asked")


async def test_nothing_waits_for_an_endpoint_that_goes_while_another_is_disabled(
    acme: Tenant, pool: Pool
) -> None:
    """The notice is for those that are still there when the transaction ends."""
    gone, deleted = [await acme.hook(path) for path in ("/gone", "/deleted")]
    await acme.owe(gone)
    (claim,) = await _claim(pool, most=1)

    async def disable() -> webhooks.Disabled | None:
        async with pool.acquire() as connection, connection.transaction():
            disabled = await webhooks.disable(connection, claim, "gone", datetime.now(UTC))
            if disabled is not None:
                message = Message(acme.name, "notice_1", "test", None, b"{}")
                await webhooks.note(connection, message, disabled.others)
            return disabled

    async with pool.acquire() as connection, connection.transaction():
        await endpoints.delete(connection, acme.name, deleted.id, datetime.now(UTC))
        disabling = asyncio.create_task(disable())
        await _until_waiting_or(disabling, pool)
    disabled = await disabling
    assert disabled is not None
    assert disabled.others == []
    assert await acme.deliveries(deleted) == []


async def _until_waiting_or(task: asyncio.Task[Any], pool: Pool) -> None:
    """Wait until the task has ended or waits for a lock in the database."""
    waiting = (
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        " AND datname = current_database()"
    )
    async with asyncio.timeout(DEADLINE):
        while not (task.done() or await pool.fetchval(waiting)):
            pass


async def test_an_endpoint_at_which_nothing_arrives_for_five_days_is_given_up(
    acme: Tenant, receiver: Receiver, sending: Sending
) -> None:
    hook = await acme.hook("/a")
    receiver.answers["/a"] = always(503)
    long_ago = datetime.now(UTC) - schedule.GIVEN_UP
    await acme.change(hook, failing_since=long_ago + timedelta(hours=1))
    await acme.owe(hook, count=3)
    async with sending():
        await receiver.heard("/a", 3)
    assert (await acme.endpoint(hook)).disabled_at is None
    await acme.change(hook, failing_since=long_ago)
    await acme.pass_time()
    with capture_logs() as lines:
        async with sending():
            await receiver.heard("/a", 4)
    assert len(receiver.calls) == 4
    assert (await acme.endpoint(hook)).disabled_reason == "failing"
    deliveries = await acme.deliveries(hook)
    assert [row["status"] for row in deliveries] == ["cancelled"] * 3
    assert sorted(row["attempts"] for row in deliveries) == [1, 1, 2]
    # Nobody else is there to hear of it: the log has it all the same.
    assert await acme.message_types() == ["milepost.webhook.disabled.v1"] + ["test"] * 3
    (line,) = [line for line in lines if line["event"] == "endpoint_disabled"]
    assert (line["log_level"], line["endpoint"]) == ("warning", str(hook.id))


async def test_what_is_disabled_or_deleted_during_a_call_stays_so(
    acme: Tenant, receiver: Receiver, sending: Sending, held: asyncio.Event, pool: Pool
) -> None:
    async def refuse_later(call: Call) -> Reply:
        await held.wait()
        return Reply(503)

    hooks = [await acme.hook(path) for path in ("/disabled", "/deleted")]
    for hook in hooks:
        receiver.answers[hook.path] = refuse_later
    await acme.owe(*hooks)
    async with sending():
        await receiver.until(lambda: len(receiver.calls) == 2)
        await _disable(acme, hooks[0])
        async with pool.acquire() as connection, connection.transaction():
            await endpoints.delete(connection, acme.name, hooks[1].id, datetime.now(UTC))
        held.set()
    assert [row["status"] for row in await acme.deliveries()] == ["cancelled"] * 2
    assert (await acme.endpoint(hooks[0])).disabled_reason == "asked"
    assert [row["status_code"] for row in await acme.attempts()] == [503] * 2


async def test_a_test_message_is_sent_at_once(
    acme: Tenant, receiver: Receiver, sending: Sending, pool: Pool
) -> None:
    """What the API adds is told by a notification: nothing else wakes a sender that rests."""
    hook = await acme.hook("/a")
    async with sending():
        await acme.owe(hook)
        await receiver.heard("/a")
        message = Message(acme.name, "test_1", "test", None, b"{}")
        async with pool.acquire() as connection, connection.transaction():
            await webhooks.add(connection, [(message, hook.id)])
        started = asyncio.get_running_loop().time()
        await receiver.heard("/a", 2)
        assert asyncio.get_running_loop().time() - started < sender._LOOK_SECONDS / 2


async def test_what_is_due_later_is_sent_then(
    acme: Tenant, receiver: Receiver, sending: Sending, pool: Pool
) -> None:
    """Nobody tells: the sender knows when the next is due."""
    hook = await acme.hook("/a")
    await acme.owe(hook)
    await pool.execute("UPDATE webhook_deliveries SET due_at = now() + interval '0.5 s'")
    async with sending():
        began = asyncio.get_running_loop().time()
        await receiver.heard("/a")
        assert asyncio.get_running_loop().time() - began < sender._LOOK_SECONDS / 2


async def test_a_call_that_outlives_the_worker_is_given_back_at_once(
    acme: Tenant,
    receiver: Receiver,
    sending: Sending,
    held: asyncio.Event,
    holding: Answer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sender, "_DRAIN_SECONDS", 0.1)
    hook = await acme.hook("/a")
    receiver.answers["/a"] = holding
    await acme.owe(hook)
    async with sending():
        await receiver.heard("/a")
    (delivery,) = await acme.deliveries()
    assert (delivery["status"], delivery["attempts"]) == ("pending", 0)
    assert delivery["wait"] <= timedelta()
    held.set()
    async with sending():
        first, second = await receiver.heard("/a", 2)
    assert first.id == second.id
    assert [row["status"] for row in await acme.deliveries()] == ["delivered"]


async def test_only_the_worker_that_took_it_last_decides(acme: Tenant, pool: Pool) -> None:
    hook = await acme.hook("/a")
    await acme.owe(hook)
    (first,) = await _claim(pool, most=1)
    assert await _claim(pool, most=1) == []
    await acme.pass_time()
    (second,) = await _claim(pool, most=1)
    attempt = endpoints.Attempt(datetime.now(UTC), 0.1, 503, None, None)
    later = attempt._replace(attempted_at=datetime.now(UTC) + timedelta(seconds=1), status_code=200)
    async with pool.acquire() as connection:
        wait = timedelta(hours=1)
        assert not await webhooks.attempted(connection, first, attempt, "pending", wait)
        assert await webhooks.attempted(connection, second, later, "delivered", None)
        # Again after a commit of unknown outcome.
        assert not await webhooks.attempted(connection, second, later, "delivered", None)
    (delivery,) = await acme.deliveries()
    assert (delivery["status"], delivery["attempts"]) == ("delivered", 1)
    assert [row["status_code"] for row in await acme.attempts()] == [503, 200]


async def test_two_workers_share_the_work_and_repeat_nothing(
    acme: Tenant, receiver: Receiver, sending: Sending
) -> None:
    hooks = [await acme.hook(f"/{number}") for number in range(20)]
    async with sending(), sending():
        messages = await acme.owe(*hooks, count=20)
        await receiver.until(lambda: len(receiver.calls) == 400)
    ids = {message.message_id for message in messages}
    for hook in hooks:
        assert sorted(call.id for call in receiver.of(hook.path)) == sorted(ids)
    assert {row["status"] for row in await acme.deliveries()} == {"delivered"}


async def test_a_key_that_is_missing_costs_no_attempt(
    acme: Tenant, receiver: Receiver, sending: Sending, pool: Pool
) -> None:
    sealed, bare, other = [await acme.hook(path) for path in ("/a", "/bare", "/b")]
    await acme.owe(sealed, bare, other)
    forget = "UPDATE webhook_secrets SET sealed = $1 WHERE endpoint_id = $2"
    await pool.execute(forget, b"by another key", sealed.id)
    await pool.execute("DELETE FROM webhook_secrets WHERE endpoint_id = $1", bare.id)
    with capture_logs() as lines:
        async with sending():
            await receiver.heard("/b")
    assert [line["log_level"] for line in lines if line["event"] == "cannot_sign"] == ["error"] * 2
    for hook in (sealed, bare):
        (delivery,) = await acme.deliveries(hook)
        assert (delivery["status"], delivery["attempts"]) == ("pending", 0)
        assert delivery["wait"] > timedelta(seconds=30)
    assert [call.path for call in receiver.calls] == ["/b"]
    assert len(await acme.attempts()) == 1
