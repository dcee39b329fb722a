"""`milepost completions`: what is told, as it comes, and what a group put aside."""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from uuid import uuid4

import pytest

from log import completion
from milepost.cli.app import app
from milepost.cli.failures import Unable
from milepost.client import Completion, State, Subscriber
from milepost.schemas.values import Failure
from milepost.settings import Settings
from stack import environment, first
from subscribing import WITHIN, publish


async def start(settings: Settings, *arguments: str) -> Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "milepost.cli", "completions", *arguments),
        env=os.environ | environment(settings),
        stdout=PIPE,
        stderr=PIPE,
    )


async def ended(process: Process) -> tuple[list[str], str]:
    """What it printed, line by line, and what it complained of."""
    async with asyncio.timeout(WITHIN):
        out, errors = await process.communicate()
    return out.decode().splitlines(), errors.decode()


async def test_each_is_printed_once_as_it_comes_until_interrupted(
    broker_settings: Settings,
) -> None:
    tenant = f"t-{uuid4().hex[:8]}"
    failure = Failure(code="quota", message="no room\x1b[2J", category="retriable", origin="tenant")
    old = completion(tenant=tenant, failure=failure.model_dump(), duration_seconds=1.5)
    await publish(broker_settings, old, old, completion(tenant="other"))
    process = await start(broker_settings, "tail", "--tenant", tenant, "--from-beginning")
    assert process.stdout is not None
    async with asyncio.timeout(WITHIN):
        line = (await process.stdout.readline()).decode()
        assert f"{tenant} {old.execution_id} provision failed 1.5 s quota: no room [2J" in line
        new = completion(tenant=tenant, state=State.CANCELLED)
        await publish(broker_settings, new)
        assert new.execution_id in (await process.stdout.readline()).decode()
    process.send_signal(signal.SIGINT)
    assert await ended(process) == ([], "")
    assert process.returncode == 0


async def test_filters_a_time_and_a_count(broker_settings: Settings) -> None:
    tenant = f"t-{uuid4().hex[:8]}"
    wanted = completion(tenant=tenant, operation="update", provider="k8s")
    await publish(
        broker_settings,
        completion(tenant=tenant, state=State.SUCCEEDED, operation="update", provider="k8s"),
        completion(tenant=tenant, operation="provision", provider="k8s"),
        completion(tenant=tenant, operation="update", provider="ecs"),
        wanted,
    )
    process = await start(
        broker_settings,
        *("tail", "--tenant", tenant, "--state", "failed", "--operation", "update"),
        *("--provider", "k8s", "--since", "1h", "--count", "1", "-o", "json"),
    )
    lines, errors = await ended(process)
    assert [Completion.model_validate_json(line) for line in lines] == [wanted], errors
    assert process.returncode == 0


def test_only_one_place_to_begin() -> None:
    with pytest.raises(Unable, match="not both"):
        app(["completions", "tail", "--from-beginning", "--since", "2026-01-01"])


async def test_dead_letters_are_listed(broker_settings: Settings) -> None:
    group = f"group-{uuid4().hex[:8]}"
    poison = completion()

    async def fail() -> None:
        async with Subscriber(broker_settings, group=group, attempts=1) as completions:
            await publish(broker_settings, poison)
            await first(completions)
            raise RuntimeError("out of\nluck")

    with pytest.raises(RuntimeError):
        await fail()
    lines, _ = await ended(await start(broker_settings, "dead-letters", group, "-o", "jsonl"))
    [letter] = [json.loads(line) for line in lines]
    assert letter["offset"] == 0
    assert letter["id"] == poison.id
    assert (letter["error"], letter["message"]) == ("RuntimeError", "out of\nluck")
    [header, row], _ = await ended(await start(broker_settings, "dead-letters", group))
    assert header.startswith("OFFSET")
    assert "RuntimeError: out of luck" in row
    assert poison.id in row


async def test_a_group_without_dead_letters_and_one_that_cannot_be(
    broker_settings: Settings,
) -> None:
    unheard, wrong = await asyncio.gather(
        start(broker_settings, "dead-letters", "unheard-of", "-o", "json"),
        start(broker_settings, "dead-letters", "two words"),
    )
    assert await ended(unheard) == (["[]"], "")
    _, said = await ended(wrong)
    assert said.startswith("milepost: group 'two words': use letters")
    assert wrong.returncode == 2
