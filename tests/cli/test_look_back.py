"""Looking back from the command line: raw records in the database, resources at the API."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from api.harness import Api, now, requested, running_api
from cli.conftest import Ended, milepost
from milepost.schemas.events import Failed, Progressed, Started, Succeeded
from milepost.schemas.values import Failure, LogLine, Resource
from milepost.settings import Settings

TASK = "arn:aws:ecs:eu-west-1:123456789012:task/web/[/bold]0f9d"


@pytest.fixture(scope="module")
async def api(settings: Settings) -> AsyncIterator[Api]:
    async with running_api(settings) as api:
        yield api


async def command(api: Api, folder: Path, *arguments: str) -> Ended:
    return await milepost(
        *arguments, cwd=folder, MILEPOST_API_URL=api.url, MILEPOST_DATABASE_URL=api.settings.dsn
    )


async def left_behind(api: Api) -> tuple[str, str]:
    """A tenant with a failed execution that left a task behind."""
    tenant = f"t{uuid4().hex[:8]}"
    failed = Failed(
        occurred_at=now(),
        failure=Failure(code="timed_out", message="too slow"),
        resources=(Resource("ecs.task", f"{TASK}{tenant}", status="running", region="eu-west-1"),),
    )
    return tenant, await api.execution(tenant, failed, provider="ecs")


async def test_orphans_until_they_are_released(api: Api, tmp_path: Path) -> None:
    tenant, execution_id = await left_behind(api)
    shown = await command(api, tmp_path, "resources", "orphans", "--tenant", tenant)
    assert shown.status == 0, shown.err
    heading, row = shown.out.splitlines()
    assert heading.split()[:4] == ["KIND", "ID", "PROVIDER", "REGION"]
    assert row.split()[:7] == [
        *("ecs.task", f"{TASK}{tenant}", "ecs", "eu-west-1", "failed", execution_id, "provision"),
    ]
    released = Resource("ecs.task", f"{TASK}{tenant}", status="released", region="eu-west-1")
    done = Succeeded(occurred_at=now(), resources=(released,))
    gone = await api.execution(tenant, done, provider="ecs", operation="deprovision")
    shown = await command(api, tmp_path, "resources", "orphans", "--tenant", tenant, "-o", "json")
    assert (shown.status, json.loads(shown.out)) == (0, [])
    history = ("resources", "history", "ecs.task", f"{TASK}{tenant}")
    shown = await command(api, tmp_path, *history, "--region", "eu-west-1")
    assert [line.split()[2:6] for line in shown.out.splitlines()[1:]] == [
        ["made", "running", tenant, execution_id],
        ["released", "released", tenant, gone],
    ]


async def test_a_record_is_explained(api: Api, tmp_path: Path) -> None:
    request = requested(provider="ecs", labels={"team": "\x1b[31mred"})
    execution_id = request.execution_id("acme")
    await api.log.report("acme", execution_id, request)
    await api.log.report("acme", execution_id, Started(occurred_at=now()), partition=2)
    topic = api.settings.topics.events
    found = await api.get(f"/v1/executions/{execution_id}/transitions")
    place = (str(found["items"][0]["partition"]), str(found["items"][0]["offset"]))
    shown = await command(api, tmp_path, "events", "explain", topic, *place)
    assert shown.status == 0, shown.err
    facts = [line.partition(":")[::2] for line in shown.out.splitlines()]
    told = {name: value.strip() for name, value in facts}
    assert told["record"] == f"{topic}/{'/'.join(place)}"
    assert told["disposition"] == "applied"
    assert told["why"] == "It moved the execution on, or brought newer facts."
    assert (told["execution"], told["tenant"]) == (execution_id, "acme")
    assert told["ordinal"].startswith("1 ")
    assert told["transition"] == "to pending"
    assert told["event"].startswith("milepost.execution.requested.v1 ")
    assert told["emitted"].startswith(f"{api.settings.topics.commands} milepost.command.start.v1 ")
    assert told["key"] == execution_id
    assert {"occurred", "reported", "recorded"} <= told.keys()
    assert "header" in told
    assert "\x1b" not in shown.out

    shown = await command(api, tmp_path, "events", "explain", topic, *place, "-o", "json")
    document = json.loads(shown.out)
    assert document["event"]["data"]["labels"] == {"team": "\x1b[31mred"}
    assert document["recorded_at"] == found["items"][0]["recorded_at"]


async def test_a_record_that_is_not_there_is_a_sentence(api: Api, tmp_path: Path) -> None:
    await api.execution("acme")
    topic = api.settings.topics.events
    shown = await command(api, tmp_path, "events", "explain", topic, "0", "999999")
    assert (shown.status, shown.out) == (1, "")
    assert shown.err.startswith("milepost: no record")
    assert "this partition is folded up to, without, offset" in shown.err
    assert len(shown.err.splitlines()) == 1


async def test_who_is_silent(api: Api, tmp_path: Path) -> None:
    tenant, long_ago = f"t{uuid4().hex[:8]}", now() - timedelta(hours=2)
    expected = {"heartbeat_seconds": 60, "duration_seconds": 600}
    request = requested(expectations=expected)
    silent = request.execution_id(tenant)
    await api.log.report(tenant, silent, request, recorded_at=long_ago)
    await api.execution(tenant)
    listing = ("executions", "list", "--tenant", tenant, "-o", "jsonl")
    shown = await command(api, tmp_path, *listing, "--silent", "--overdue")
    [found] = map(json.loads, shown.out.splitlines())
    assert (found["execution_id"], found["silent_since"] is None) == (silent, False)
    shown = await command(api, tmp_path, "executions", "get", silent)
    day = f"since {long_ago.astimezone(UTC):%Y-%m-%d}"
    facts = [line.partition(":")[::2] for line in shown.out.splitlines()]
    told = {name: value.strip()[: len(day)] for name, value in facts}
    assert told["silent"] == told["overdue"] == day


async def test_the_filters_of_a_listing(api: Api, tmp_path: Path) -> None:
    tenant = f"t{uuid4().hex[:8]}"
    done = Succeeded(occurred_at=now())
    plain = await api.execution(tenant)
    ended = await api.execution(tenant, done, provider="ecs", labels={"team": "web", "tier": "a"})
    contradicted = await api.execution(
        tenant, done, Failed(occurred_at=now(), failure=Failure(code="x", message="\x1b[2J\tx"))
    )
    fitting = {
        ("--provider", "ecs", "--ended-since", "1h"): {ended},
        ("--label", "team=web", "--label", "tier=a", "--ended-before", "2100-01-01"): {ended},
        ("--id-prefix", plain[:13], "--since", "1h"): {plain},
        ("--before", "2100-01-01", "--conflicting"): {contradicted},
    }
    listing = ("executions", "list", "--tenant", tenant)
    for filters, shown in zip(
        fitting,
        await asyncio.gather(
            *(command(api, tmp_path, *listing, *one, "-o", "jsonl") for one in fitting)
        ),
        strict=True,
    ):
        assert shown.status == 0, shown.err
        found = {json.loads(line)["execution_id"] for line in shown.out.splitlines()}
        assert found == fitting[filters], filters
    refused = await command(api, tmp_path, *listing, "--label", "team=web", "--label", "team=db")
    assert (refused.status, refused.out) == (2, "")
    assert refused.err == "milepost: --label team=db: team has the value web already.\n"


async def test_several_are_shown_and_those_that_are_not_known_are_named(
    api: Api, tmp_path: Path
) -> None:
    tenant, failed = await left_behind(api)
    running, unknown = await api.execution(tenant), str(uuid4())
    ids = (failed, unknown, running)
    array = await command(api, tmp_path, "executions", "get", *ids, "-o", "json")
    assert [one["execution_id"] for one in json.loads(array.out)] == [failed, running]
    assert (array.status, array.err) == (1, f"milepost: no execution {unknown} is known.\n")
    lines = await command(api, tmp_path, "executions", "get", failed, running, "--wait", "0s")
    assert (lines.status, lines.err) == (0, "")
    named = [line.split()[1] for line in lines.out.splitlines() if line.startswith("execution:")]
    assert named == [failed, running]


async def test_what_providers_report_does_not_drive_the_terminal(api: Api, tmp_path: Path) -> None:
    tenant = f"t{uuid4().hex[:8]}"
    failure = Failure(code="x", message="\x1b[2J\ta\nb")
    lines = (LogLine(message="\x1b[2J\ta\nb"),)
    report = (
        Progressed(occurred_at=now(), log_lines=lines),
        Failed(occurred_at=now(), failure=failure),
    )
    execution_id = await api.execution(tenant, *report)
    for question in (
        ("list", "--tenant", tenant),
        *((name, execution_id) for name in ("get", "logs")),
    ):
        shown = await command(api, tmp_path, "executions", *question)
        assert shown.status == 0, shown.err
        assert "\\x1b[2J" in shown.out
        assert "a\\x0ab" in shown.out
        assert "\x1b" not in shown.out


async def test_without_a_database_a_sentence(tmp_path: Path) -> None:
    nowhere = "postgresql://postgres@127.0.0.1:1/milepost"
    shown = await milepost(
        *("events", "explain", "t", "0", "0"), cwd=tmp_path, MILEPOST_DATABASE_URL=nowhere
    )
    assert shown.status == 69
    assert "cannot use Postgres at 127.0.0.1:1/milepost" in shown.err
