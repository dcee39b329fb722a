"""Many completions at once: order, what is committed, rebalances, and the end."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from typing import Any
from uuid import uuid4

import pytest

from log import completion, records
from milepost.client import Completion, State, Subscriber, processing, sync
from milepost.settings import Settings
from stack import environment, first
from subscribing import WITHIN, Handler, committed, ended, of_one_execution, place, publish

# Each completion's body says so, and ends with a line on standard input.
_ASYNC = """
import asyncio, sys
from milepost.client import Subscriber
async def handle(item):
    print(item.id, flush=True)
    await asyncio.to_thread(sys.stdin.readline)
async def main():
    async with Subscriber(group=sys.argv[1], states={"failed"}) as completions:
        await completions.process(handle)
asyncio.run(main())
print("left in good order")
"""
_SYNC = """
import sys
from milepost.client.sync import Subscriber
def handle(item):
    print(item.id, flush=True)
    sys.stdin.readline()
try:
    with Subscriber(group=sys.argv[1], states={"failed"}) as completions:
        completions.process(handle)
except KeyboardInterrupt:
    pass
print("left in good order")
"""


@pytest.fixture
def group() -> str:
    return f"group-{uuid4().hex[:8]}"


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processing, "_FIRST_WAIT_SECONDS", 0.01)


def subscriber(settings: Settings, group: str, **options: Any) -> Subscriber:
    return Subscriber(settings, group=group, states={"failed"}, **options)


async def start(settings: Settings, script: str, *arguments: str) -> Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", script, *arguments),
        env=os.environ | environment(settings),
        stdin=PIPE,
        stdout=PIPE,
    )


async def line(process: Process) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(WITHIN):
        return (await process.stdout.readline()).decode().strip()


async def test_executions_run_side_by_side_and_each_in_its_order(
    broker_settings: Settings, group: str
) -> None:
    executions = [of_one_execution(4) for _ in range(8)]
    failing = {one[1].id for one in executions}
    running: set[str] = set()
    overlaps: list[str] = []
    five = asyncio.Event()

    async def body(item: Completion) -> None:
        if item.execution_id in running or len(running) == 5:
            overlaps.append(item.id)
        running.add(item.execution_id)
        if len(running) == 5:
            five.set()
        await five.wait()
        running.remove(item.execution_id)
        if item.id in failing:  # the next of its execution waits for the second attempt
            failing.remove(item.id)
            raise RuntimeError("once")

    handler = Handler(body)
    items = [one for step in zip(*executions, strict=True) for one in step]
    async with subscriber(broker_settings, group) as completions:
        await publish(broker_settings, *items)
        working = asyncio.create_task(completions.process(handler, concurrency=5))
        await handler.until(*items)
        await ended(working)
    assert overlaps == []
    for one in executions:
        ids = [item.id for item in one]
        seen = [item_id for item_id in handler.seen if item_id in ids]
        assert seen == [ids[0], ids[1], ids[1], ids[2], ids[3]]


async def test_a_kill_repeats_what_lies_behind_the_first_unfinished_and_nothing_else(
    broker_settings: Settings, group: str
) -> None:
    async with subscriber(broker_settings, group):
        before = await committed(broker_settings, group)
    items = [completion() for _ in range(40)]
    await publish(broker_settings, *items)
    kept = await records(broker_settings, broker_settings.topics.completions(State.FAILED))
    places = {item.id: place(kept, item) for item in items}
    partition = places[items[0].id][0]
    behind = sorted(found for found in places.values() if found[0] == partition)[2:]
    stuck = next(item.id for item in items if places[item.id] == behind[0])
    script = _ASYNC.replace("    await asyncio", f"    if item.id == {stuck!r}: await asyncio")
    process = await start(broker_settings, script, group)
    assert {await line(process) for _ in items} == set(places)

    wanted = dict(before)
    for number, offset in sorted(places.values()):
        wanted[number] = offset + 1
    wanted[partition] = behind[0][1]
    async with asyncio.timeout(WITHIN):
        while await committed(broker_settings, group) != wanted:
            assert process.returncode is None
    process.kill()
    await process.communicate()

    handler = Handler()
    again = [item for item in items if places[item.id] in behind]
    async with subscriber(broker_settings, group) as completions:
        working = asyncio.create_task(completions.process(handler))
        await handler.until(*again)
        await ended(working)
    assert sorted(handler.seen) == sorted(item.id for item in again)


async def test_a_stop_lets_bodies_end_begins_nothing_and_commits(
    broker_settings: Settings, group: str
) -> None:
    one, two = of_one_execution(2)
    release = asyncio.Event()

    async def body(item: Completion) -> None:
        await release.wait()

    handler = Handler(body)
    async with subscriber(broker_settings, group) as completions:
        await publish(broker_settings, one, two)
        working = asyncio.create_task(completions.process(handler))
        await handler.until(one)
        completions.stop()
        release.set()
        async with asyncio.timeout(WITHIN):
            await working
    assert handler.seen == [one.id]
    async with subscriber(broker_settings, group) as completions:
        assert await first(completions) == two


async def test_a_body_that_outlives_its_grace_is_cancelled_and_comes_again(
    broker_settings: Settings, group: str
) -> None:
    one = completion()
    ends: list[str] = []

    async def body(item: Completion) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ends.append(item.id)

    handler = Handler(body)
    async with subscriber(broker_settings, group, grace=0.05) as completions:
        await publish(broker_settings, one)
        working = asyncio.create_task(completions.process(handler))
        await handler.until(one)
        await ended(working)
        assert working.cancelled()
    assert ends == [one.id]
    async with subscriber(broker_settings, group) as completions:
        assert await first(completions) == one


@pytest.mark.parametrize(
    ("script", "number"),
    [(_ASYNC, signal.SIGTERM), (_SYNC, signal.SIGTERM), (_SYNC, signal.SIGINT)],
    ids=["async-term", "sync-term", "sync-int"],
)
async def test_a_signal_ends_a_program_in_good_order(
    broker_settings: Settings, group: str, script: str, number: signal.Signals
) -> None:
    async with subscriber(broker_settings, group):
        pass
    one, two = of_one_execution(2)
    await publish(broker_settings, one, two)
    process = await start(broker_settings, script, group)
    assert await line(process) == one.id
    process.send_signal(number)
    async with asyncio.timeout(WITHIN):
        said, _ = await process.communicate(b"\n")
    assert process.returncode == 0
    assert said.decode().split("\n")[-2] == "left in good order"
    # The body that was in progress is over; what came after it was handled whole, or not begun.
    expected = [] if two.id in said.decode() else [two]
    last = completion()
    await publish(broker_settings, last)
    async with subscriber(broker_settings, group) as completions:
        for item in expected:
            assert await first(completions, lambda seen: seen.id != last.id) == item
        if not expected:
            assert await first(completions) == last


async def test_what_a_loop_left_unfinished_is_processed_first(
    broker_settings: Settings, group: str
) -> None:
    one, two = of_one_execution(2)
    handler = Handler()
    async with subscriber(broker_settings, group) as completions:
        await publish(broker_settings, one, two)
        assert await first(completions) == one
        working = asyncio.create_task(completions.process(handler))
        await handler.until(two)
        await ended(working)
    assert handler.seen == [one.id, two.id]


async def test_repeats_are_dropped(broker_settings: Settings, group: str) -> None:
    one, last = of_one_execution(2)
    handler = Handler()
    async with subscriber(broker_settings, group) as completions:
        await publish(broker_settings, one, one, one, last)
        working = asyncio.create_task(completions.process(handler))
        await handler.until(last)
        await ended(working)
    assert handler.seen == [one.id, last.id]


async def test_bodies_that_outlive_a_rebalance_are_cancelled_and_begun_anew(
    broker_settings: Settings, group: str
) -> None:
    items = [completion() for _ in range(30)]
    later = [completion() for _ in range(30)]
    stuck = {item.id for item in items[:3]}
    done: list[str] = []
    members: dict[str, set[str]] = {"one": set(), "two": set()}

    async def body(item: Completion) -> None:
        if handler.seen.count(item.id) == 1 and item.id in stuck:
            await asyncio.Event().wait()
        done.append(item.id)

    handler = Handler(body)

    async def member(name: str, subscriber: Subscriber) -> None:
        async def handle(item: Completion) -> None:
            members[name].add(item.id)
            await handler(item)

        await subscriber.process(handle)

    async with subscriber(broker_settings, group, grace=0.2) as one:
        await publish(broker_settings, *items)
        first_member = asyncio.create_task(member("one", one))
        await handler.until(*items)
        async with subscriber(broker_settings, group, grace=0.2) as two:
            second_member = asyncio.create_task(member("two", two))
            await publish(broker_settings, *later)
            await handler.until(*later)
            await handler.until(*items[:3], times=2)
            await ended(first_member, second_member)
    assert set(done) == {item.id for item in (*items, *later)}
    new = {item.id for item in later}
    assert members["one"] & new
    assert members["two"] & new
    assert not members["one"] & members["two"] & new
    # All of it is committed.
    last = completion()
    await publish(broker_settings, last)
    async with subscriber(broker_settings, group) as completions:
        assert await first(completions) == last


async def test_a_body_that_ends_within_its_grace_is_committed_before_a_rebalance(
    broker_settings: Settings, group: str
) -> None:
    items, later = ([completion() for _ in range(30)] for _ in range(2))
    old = {item.id for item in items}

    async def body(item: Completion) -> None:
        if item.id in old:  # ends when the partitions are asked back
            assert one._processing is not None
            await one._processing._lanes.closing.wait()

    handler, other = Handler(body), Handler()
    async with subscriber(broker_settings, group) as one:
        await publish(broker_settings, *items)
        working = asyncio.create_task(one.process(handler, concurrency=30))
        await handler.until(*items)
        async with subscriber(broker_settings, group) as two:
            sharing = asyncio.create_task(two.process(other))
            await publish(broker_settings, *later)
            await asyncio.wait_for(_all(later, handler, other), WITHIN)
            await ended(working, sharing)
    assert len(handler.seen) + len(other.seen) == len(items) + len(later)


async def _all(items: list[Completion], *handlers: Handler) -> None:
    """Wait until each item was seen by one of the handlers."""
    for item in items:
        seeing = [asyncio.create_task(handler.until(item)) for handler in handlers]
        await asyncio.wait(seeing, return_when=asyncio.FIRST_COMPLETED)
        await ended(*seeing)


async def test_what_is_no_async_function_is_named_and_nothing_is_lost(
    broker_settings: Settings, group: str
) -> None:
    one = completion()
    async with subscriber(broker_settings, group) as completions:
        await publish(broker_settings, one)
        with pytest.raises(TypeError, match="not an async function"):
            await completions.process(str)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="concurrency"):
            await completions.process(Handler(), concurrency=0)
    async with subscriber(broker_settings, group) as completions:
        assert await first(completions) == one


async def test_something_cancelled_within_a_body_is_a_failed_attempt(
    broker_settings: Settings, group: str
) -> None:
    one, two = of_one_execution(2)

    async def body(item: Completion) -> None:
        if item.id == one.id:
            raise asyncio.CancelledError

    handler = Handler(body)
    async with subscriber(broker_settings, group, attempts=2) as completions:
        await publish(broker_settings, one, two)
        working = asyncio.create_task(completions.process(handler))
        await handler.until(two)
        await ended(working)
    assert handler.seen == [one.id, one.id, two.id]


def test_blocking_bodies_run_in_threads(kafka: str, broker_settings: Settings, group: str) -> None:
    items = [completion() for _ in range(4)]
    seen: list[str] = []

    def handle(item: Completion) -> None:
        seen.append(item.id)
        if len(seen) == len(items):
            completions._portal.start_task_soon(completions._twin.stop)  # type: ignore[union-attr]

    with sync.Subscriber(broker_settings, group=group, states={"failed"}) as completions:
        asyncio.run(publish(broker_settings, *items))
        completions.process(handle, concurrency=4)
    assert set(seen) == {item.id for item in items}
