"""What the pages show works as printed: run in order, as a reader would, beside a running stack.

The curl lines of `use-the-http-api.md` answer every scenario of the requirements.
"""

import asyncio
import base64
import json
import os
import re
import shlex
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import asyncpg
import pytest

from conftest import StartService
from docs.pages import EXECUTED, blocks, not_run, pages
from milepost.api.keys import bootstrap
from milepost.embedded.claims import free_port
from milepost.settings import Settings
from stack import environment

API_PAGE: Final = "docs/how-to/use-the-http-api.md"
FIRST: Final = "2752fe1d-e26c-5317-ba64-ee07aca23c9e"
SECOND: Final = "ff241aae-dacf-54aa-b42d-d7bbe412ea44"
# However busy the machine is.
_PAGE_SECONDS: Final = 150
_WARM: Final = Path(__file__).with_name("warm.py")
_NAME: Final = re.compile(r"# (\w+\.py)\n")
# Between what two blocks print.
_NEXT: Final = "\x1e"


class Printed(NamedTuple):
    """What one block printed: text, JSON documents, or the events of a stream."""

    text: str

    @property
    def documents(self) -> list[Any]:
        """The JSON documents, one after the other."""
        decoder, found, rest = json.JSONDecoder(), [], self.text.strip()
        while rest:
            document, end = decoder.raw_decode(rest)
            found.append(document)
            rest = rest[end:].lstrip()
        return found


def script(page: str, folder: Path, instead: dict[str, str]) -> str:
    """All of a page as one shell script; programs that have a name are saved, others run."""
    parts = ["set -euo pipefail", "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT"]
    for number, block in enumerate(blocks(page)):
        text = block.text
        for usual, here in instead.items():
            text = text.replace(usual, here)
        if block.language == "python":
            name = _NAME.match(text)
            path = folder / (name[1] if name else f"block{number}.py")
            path.write_text(text)
            parts += [] if name else [f"printf '{_NEXT}'", f"python {path.name}"]
        elif block.language == "sh" and not not_run(block):
            parts += [f"printf '{_NEXT}'", text]
    return "\n".join(parts)


async def printed_by(page: str, folder: Path, variables: dict[str, str]) -> list[Printed]:
    """Run a page; what each of its blocks printed on standard output."""
    instead = {"milepost.executions.": variables["MILEPOST_TOPIC_PREFIX"], "3000": str(free_port())}
    out, err = folder / "out", folder / "err"
    with out.open("wb") as to_out, err.open("wb") as to_err:
        process = await asyncio.create_subprocess_exec(
            *("bash", "-c", script(page, folder, instead)),
            env=os.environ | variables,
            cwd=folder,
            stdout=to_out,
            stderr=to_err,
            start_new_session=True,
        )
    try:
        async with asyncio.timeout(_PAGE_SECONDS):
            status: int | str = await process.wait()
    except TimeoutError:
        os.killpg(process.pid, signal.SIGKILL)
        status = f"{await process.wait()}, after {_PAGE_SECONDS} s"
    assert status == 0, f"{page} ended with {status}\n{out.read_text()}\n{err.read_text()}"
    return [Printed(text) for text in out.read_text().split(_NEXT)[1:]]


@pytest.fixture(scope="module")
def settings(broker_settings: Settings, database: str) -> Settings:
    """As of `milepost up`: an API that asks for a key, and webhooks to this machine."""
    return Settings(
        **{
            **dict(broker_settings),
            "database_url": database,
            "api_access": "required",
            "webhook_keys": base64.urlsafe_b64encode(os.urandom(32)).decode(),
            "webhook_allowed_networks": "127.0.0.0/8",
        }
    )


@pytest.fixture(scope="module")
async def programs(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Path]:
    """A folder with `milepost` and `python`."""
    folder = tmp_path_factory.mktemp("programs")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, _WARM, folder / "socket"), stdout=asyncio.subprocess.PIPE
    )
    for name in ("milepost", "python"):
        file = folder / name
        warm = f'exec {sys.executable} -IS {_WARM} {folder}/socket {name} "$@"'
        itself = f'[ "$1" != -c ] || exec {sys.executable} "$@"'
        file.write_text(f"#!/bin/sh\n{itself}\n{warm}\n")
        file.chmod(0o755)
    assert process.stdout is not None
    assert await process.stdout.readline() == b"ready\n"
    yield folder
    process.kill()
    await process.wait()


@pytest.fixture(scope="module")
async def variables(settings: Settings, service: StartService, programs: Path) -> dict[str, str]:
    """The environment of a reader beside a running stack."""
    api, *_ = await asyncio.gather(service("api"), service("processor"), service("webhooks"))
    token = await bootstrap(settings.dsn, "documentation")
    return environment(settings) | {
        "MILEPOST_API_URL": api.ready["api"],
        "MILEPOST_TOKEN": token.get_secret_value(),
        "PATH": f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}",
    }


@pytest.fixture(scope="module")
async def all_printed(
    variables: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, list[Printed]]:
    """What the blocks of each page printed, the pages side by side."""
    folders = [tmp_path_factory.mktemp("page") for _ in EXECUTED]
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(printed_by(page, folder, variables))
            for page, folder in zip(EXECUTED, folders, strict=True)
        ]
    outputs = [task.result() for task in tasks]
    return dict(zip(EXECUTED, outputs, strict=True))


@pytest.fixture(scope="module")
def printed(all_printed: dict[str, list[Printed]]) -> list[Printed]:
    """What the requests to the HTTP API printed."""
    return all_printed[API_PAGE]


def test_the_tutorial_shows_what_it_says(all_printed: dict[str, list[Printed]]) -> None:
    shown = [one.text for one in all_printed["docs/tutorial.md"]]
    everything = "".join(shown)
    assert shown[0] == "hello, world\n"
    assert shown[1] == ""
    assert "pending" in shown[3]
    assert "succeeded" in shown[4]
    assert "succeeded" in shown[5]
    assert "webhook:" in shown[6]
    assert "made the folder" in shown[7]
    assert "applied" in shown[7]
    assert "failed" not in everything


async def test_sql_runs_as_it_is_shown(settings: Settings) -> None:
    statements = [
        block.text for page in pages() for block in blocks(page) if block.language == "sql"
    ]
    for page in pages():
        for block in blocks(page):
            for line in block.text.splitlines():
                if block.language == "sh" and line.startswith("psql "):
                    statements.append(shlex.split(line)[-1])
    assert len(statements) > 4
    connection = await asyncpg.connect(settings.dsn)
    try:
        for statement in statements:
            transaction = connection.transaction()
            await transaction.start()
            await connection.execute(statement)
            await transaction.rollback()
    finally:
        await connection.close()


def test_compute_execution_id_is_returned_immediately(printed: list[Printed]) -> None:
    [accepted] = printed[0].documents
    assert (accepted["execution_id"], accepted["state"]) == (FIRST, "pending")


def test_compute_execution_id_is_deterministic_for_idempotent_operations(
    printed: list[Printed],
) -> None:
    assert [one["execution_id"] for one in printed[1].documents] == [FIRST]
    assert [one["execution_id"] for one in printed[2].documents[0]["items"]] == [FIRST, FIRST]


def test_workflow_can_query_compute_execution_status(printed: list[Printed]) -> None:
    [running] = printed[3].documents
    assert running["state"] == "running"
    assert running["progress"]["percent"] == 40
    assert "lag" in running["freshness"]


def test_long_running_compute_operations_are_queryable(printed: list[Printed]) -> None:
    logs, resources = printed[4].documents
    assert [one["message"] for one in logs["items"]] == ["pulling web:7"]
    assert [one["kind"] for one in resources["items"]] == ["ecs.task"]


def test_tenant_can_have_concurrent_compute_operations(printed: list[Printed]) -> None:
    accepted, published = printed[5].documents
    assert accepted["execution_id"] == published["items"][0]["execution_id"] == SECOND


def test_failed_execution_includes_error_details(printed: list[Printed]) -> None:
    [failed] = printed[6].documents
    assert failed["state"] == "failed"
    assert failed["failure"]["message"] == "no more tasks in eu-west-1"
    assert failed["failure"]["next_step"]


def test_workflow_receives_notification_of_compute_completion(printed: list[Printed]) -> None:
    # Whether the stream was there before the end is a race, as it is for a reader of the README.
    told = re.findall(r"event: (\w+)\r?\ndata: (.*)", printed[7].text)
    assert [event for event, _ in told][-1] == "end"
    assert json.loads(told[-1][1])["state"] == "succeeded"


def test_successful_compute_execution_returns_resource_ids(printed: list[Printed]) -> None:
    execution, of_tenant, history = printed[8].documents
    arn = "arn:aws:ecs:eu-west-1:1:task/web/1"
    assert [one["id"] for one in execution["resources"]] == [arn]
    assert [one["id"] for one in of_tenant["items"]] == [arn]
    assert FIRST in json.dumps(history)


def test_compute_operation_transitions_through_states(printed: list[Printed]) -> None:
    transitions, _ = printed[9].documents
    states = [one["state"] for one in transitions["items"]]
    assert states == ["pending", "running", "succeeded"]


def test_compute_execution_history_is_retained(printed: list[Printed]) -> None:
    transitions, events = printed[9].documents
    assert all(one["recorded_at"] for one in transitions["items"])
    assert {one["disposition"] for one in events["items"]} == {"applied"}


def test_execution_history_shows_all_operations_for_a_tenant(printed: list[Printed]) -> None:
    [page] = printed[10].documents
    shown = [(one["execution_id"], one["state"]) for one in page["items"]]
    assert shown == [(FIRST, "succeeded"), (SECOND, "failed")]
