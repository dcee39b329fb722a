"""Subscribers and command readers on a real broker.

The processor is played here: its notifications are written in transactions, as the relay does.
"""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from pydantic import BaseModel

from log import command, completion, emit
from milepost.client import Commands, State, Subscriber, TopicMissing, broker, sync
from milepost.client.start import Start
from milepost.schemas.notifications import Completion
from milepost.settings import Settings
from stack import first


@pytest.fixture
def group() -> str:
    return f"group-{uuid4().hex[:8]}"


async def _emit(settings: Settings, *items: Completion, commit: bool = True) -> None:
    for item in items:
        await emit(settings, settings.topics.completions(item.state), [item], commit=commit)


async def _receive(subscriber: Subscriber, count: int) -> list[Completion]:
    """The next completions; the last one's body is over only when the block ends well."""
    found: list[Completion] = []
    async with asyncio.timeout(15):
        async for one in subscriber:
            found.append(one)
            if len(found) == count:
                return found
    return found


async def test_completions_of_the_chosen_states_arrive(
    broker_settings: Settings, group: str
) -> None:
    failed, cancelled = completion(), completion(state=State.CANCELLED)
    async with Subscriber(
        broker_settings, group=group, states={"failed", State.CANCELLED}
    ) as completions:
        await _emit(broker_settings, completion(state=State.SUCCEEDED), failed, cancelled)
        found = await _receive(completions, 2)
    assert {one.id: one for one in found} == {one.id: one for one in (failed, cancelled)}


async def test_the_offset_is_committed_after_the_body_and_a_failed_body_gets_it_again(
    broker_settings: Settings, group: str
) -> None:
    one, two, three = (completion(execution_id=str(uuid4())) for _ in range(3))
    # One execution id, so one partition and one order.
    two = two.model_copy(update={"execution_id": one.execution_id})
    three = three.model_copy(update={"execution_id": one.execution_id})
    seen: list[str] = []

    async def consume(fail_at: str) -> None:
        async with Subscriber(broker_settings, group=group, states={"failed"}) as completions:
            if not seen:
                await _emit(broker_settings, one, two, three)
            async with asyncio.timeout(15):
                async for item in completions:
                    seen.append(item.id)
                    if item.id == fail_at:
                        raise RuntimeError("the body failed")
                    if item.id == three.id:
                        return

    with pytest.raises(RuntimeError):
        await consume(fail_at=two.id)
    await consume(fail_at="never")
    assert seen == [one.id, two.id, two.id, three.id]

    # All is committed now: the next thing a new member gets is new.
    async with Subscriber(broker_settings, group=group, states={"failed"}) as completions:
        four = completion()
        await _emit(broker_settings, four)
        assert await _receive(completions, 1) == [four]


async def test_a_new_loop_begins_with_what_the_last_one_left_unfinished(
    broker_settings: Settings, group: str
) -> None:
    one, two = completion(), completion()
    two = two.model_copy(update={"execution_id": one.execution_id})
    async with Subscriber(broker_settings, group=group, states={"failed"}) as completions:
        await _emit(broker_settings, one, two)
        assert await _receive(completions, 1) == [one]
        assert await _receive(completions, 2) == [one, two]


async def test_a_group_that_stops_before_its_first_item_misses_nothing(
    broker_settings: Settings, group: str
) -> None:
    async with Subscriber(broker_settings, group=group, states={"failed"}):
        pass
    missed = completion()
    await _emit(broker_settings, missed)
    async with Subscriber(broker_settings, group=group, states={"failed"}) as completions:
        assert await _receive(completions, 1) == [missed]


async def test_a_group_starts_where_it_is_told(broker_settings: Settings) -> None:
    tenant = f"t-{uuid4().hex[:8]}"
    old = completion(tenant=tenant)
    await _emit(broker_settings, old)
    in_time = datetime.now(UTC) - timedelta(hours=1)
    starts: list[tuple[Start, bool]] = [
        ("earliest", True),
        (in_time, True),
        ("latest", False),
    ]
    for start, expected in starts:
        group = f"group-{uuid4().hex[:8]}"
        new = completion(tenant=tenant)
        async with Subscriber(
            broker_settings, group=group, states={"failed"}, tenants={tenant}, start=start
        ) as completions:
            await _emit(broker_settings, new)
            seen: list[str] = []
            async with asyncio.timeout(15):
                async for item in completions:
                    seen.append(item.id)
                    if item.id == new.id:
                        break
        assert (old.id in seen) is expected


async def test_only_what_was_asked_for_and_what_is_not_known_yet(
    broker_settings: Settings, group: str
) -> None:
    wanted = completion(operation="update", provider="k8s")
    unknown = completion(operation=None, provider=None, requested=False)
    others = [
        completion(operation="update", provider="k8s", tenant="globex"),
        completion(operation="provision", provider="k8s"),
        completion(operation="update", provider="ecs"),
    ]
    async with Subscriber(
        broker_settings,
        group=group,
        states={"failed"},
        tenants={"acme"},
        operations={"update"},
        providers={"k8s"},
    ) as completions:
        await _emit(broker_settings, *others, wanted, unknown)
        found = await _receive(completions, 2)
    assert {one.id for one in found} == {wanted.id, unknown.id}


async def test_what_was_aborted_is_not_seen_and_repeats_and_foreign_records_are_dropped(
    broker_settings: Settings, group: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Foreign(BaseModel):
        execution_id: str
        text: str = "not a completion"

    aborted, one = completion(), completion()
    last = completion(execution_id=one.execution_id)
    topic = broker_settings.topics.completions(State.FAILED)
    async with Subscriber(broker_settings, group=group, states={"failed"}) as completions:
        await _emit(broker_settings, aborted, commit=False)
        await emit(broker_settings, topic, [Foreign(execution_id=one.execution_id)])
        await _emit(broker_settings, one, one, last)
        assert await _receive(completions, 2) == [one, last]
    assert "put aside a record" in caplog.text


async def test_members_of_a_group_share_the_work(broker_settings: Settings, group: str) -> None:
    items = [completion() for _ in range(20)]
    seen: list[str] = []
    all_seen = asyncio.Event()

    async def consume(subscriber: Subscriber) -> None:
        async for item in subscriber:
            seen.append(item.id)
            if len(set(seen)) == len(items):
                all_seen.set()

    async with (
        Subscriber(broker_settings, group=group, states={"failed"}) as one,
        Subscriber(broker_settings, group=group, states={"failed"}) as two,
        asyncio.TaskGroup() as tasks,
    ):
        members = [tasks.create_task(consume(member)) for member in (one, two)]
        await emit(broker_settings, broker_settings.topics.completions(State.FAILED), items)
        async with asyncio.timeout(15):
            await all_seen.wait()
        for member in members:
            member.cancel()
    assert set(seen) == {item.id for item in items}


async def test_commands_are_seen_from_the_moment_of_entering(broker_settings: Settings) -> None:
    topic = broker_settings.topics.commands
    execution = str(uuid4())
    await emit(broker_settings, topic, [command("start", execution, "before")])
    async with Commands(broker_settings, providers={"process"}) as commands:
        await emit(
            broker_settings,
            topic,
            [
                command("start", execution, "other", provider="ecs"),
                command("start", execution, "mine"),
                command("cancel", execution, "later", provider=None),
            ],
        )
        assert (await first(commands)).event_id == "mine"
        assert (await first(commands, lambda one: one.command == "cancel")).event_id == "later"


async def test_states_must_be_terminal(broker_settings: Settings) -> None:
    for states in ({"running"}, set(), {"gone"}):
        with pytest.raises(ValueError, match=r"some of|is not a valid State"):
            Subscriber(broker_settings, group="g", states=states)
    with pytest.raises(TypeError):
        Subscriber(broker_settings, group="g", states="failed")


async def test_a_missing_topic_is_named(
    broker_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker, "_TOPIC_SECONDS", 0)
    wrong = broker_settings.model_copy(update={"topic_prefix": "no-such-prefix."})
    with pytest.raises(TopicMissing, match="no-such-prefix"):
        async with Subscriber(wrong, group="g"):
            pass


async def test_without_an_event_loop(broker_settings: Settings, group: str) -> None:
    one = completion()
    entered = asyncio.Event()
    loop = asyncio.get_running_loop()

    def consume() -> str:
        with sync.Subscriber(broker_settings, group=group, states={"failed"}) as completions:
            loop.call_soon_threadsafe(entered.set)
            for item in completions:
                return str(item.id)
        raise AssertionError

    consuming = asyncio.create_task(asyncio.to_thread(consume))
    await entered.wait()
    await _emit(broker_settings, one)
    async with asyncio.timeout(15):
        assert await consuming == one.id


def test_a_later_version_may_add_members_at_any_depth() -> None:
    value = (
        b'{"id": "1", "execution_id": "2", "tenant": "acme", "state": "failed", "version": 3,'
        b' "requested": true, "first_recorded_at": "2026-01-01T00:00:00Z",'
        b' "recorded_at": "2026-01-01T00:00:00Z", "added": 1,'
        b' "failure": {"code": "quota", "message": "no", "added": {"a": 1}}}'
    )
    completion = Subscriber(Settings(), group="g")._parse(value)
    assert completion.failure is not None
    assert completion.failure.code == "quota"


@pytest.mark.parametrize("grace", [10, 0.1], ids=["ends within its grace", "outlives it"])
async def test_a_body_at_work_during_a_rebalance(
    broker_settings: Settings, group: str, grace: float
) -> None:
    tenant = f"t-{uuid4().hex[:8]}"
    item = completion(tenant=tenant)
    last = completion(tenant=tenant, execution_id=item.execution_id)
    one, two = (
        Subscriber(broker_settings, group=group, states={"failed"}, tenants={tenant}, grace=grace)
        for _ in range(2)
    )
    async with one:
        await _emit(broker_settings, item)
        assert await first(one) == item
        assert one._current is not None
        progress = one._current.progress
        entering = asyncio.create_task(two.__aenter__())
        async with asyncio.timeout(15):
            while not one._feed.lost(progress):  # noqa: ASYNC110 - nobody tells when it begins
                await asyncio.sleep(0)
            if grace < 1:
                await entering  # the group has gone on without this body
    # Only what ended in time was committed: the other comes again.
    try:
        await entering
        await _emit(broker_settings, last)
        assert await first(two) == (item if grace < 1 else last)
    finally:
        await two.__aexit__(None, None, None)
