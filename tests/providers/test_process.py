"""Commands as executions, on a real broker with real processes.

The processor is played here (`Stage`): it answers a request with its start command. The whole way
through the real processor and the API is tested end to end elsewhere.
"""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

import psutil
import pytest

from log import command, emit, events
from milepost.client import Progress, Resource, State
from milepost.providers import execution
from milepost.providers.process import Outcome, Update, run
from milepost.schemas.events import Cancelled, EventData, Failed, Progressed, Started, Succeeded
from milepost.schemas.notifications import ViewedFailure
from milepost.schemas.values import RELEASED
from milepost.settings import Settings
from stub_api import StubApi, stub_api, view


class Stage:
    """One call of `run`, and the processor's part in it."""

    def __init__(self, settings: Settings, *arguments: str, **options: Any) -> None:
        self.settings = settings
        self.updates: asyncio.Queue[Update] = asyncio.Queue()
        self.printed: dict[str, bytes] = {"stdout": b"", "stderr": b""}
        self.cancel = asyncio.Event()
        self.execution_id = ""
        self._options = {"key": uuid4().hex, **options}
        self._arguments = arguments

    async def __aenter__(self) -> Self:
        self.task = asyncio.create_task(
            run(
                self._arguments,
                tenant="acme",
                settings=self.settings,
                on_update=self.updates.put_nowait,
                echo=self._echo,
                cancel=self.cancel,
                **self._options,
            )
        )
        self.execution_id = (await self.update("requested")).execution_id
        return self

    async def __aexit__(self, *error: object) -> None:
        if not self.task.done():
            self.task.cancel()
            await asyncio.wait([self.task])

    def _echo(self, stream: str, piece: bytes) -> None:
        self.printed[stream] += piece

    async def update(self, text: str) -> Update:
        """The next update that says this."""
        async with asyncio.timeout(15):
            while True:
                waiting = asyncio.ensure_future(self.updates.get())
                await asyncio.wait([waiting, self.task], return_when=asyncio.FIRST_COMPLETED)
                if not waiting.done():
                    waiting.cancel()
                    raise AssertionError(f"it ended before {text!r}: {self.task}")
                if text in waiting.result().message:
                    return waiting.result()

    async def send(self, kind: str, event_id: str | None = None, **facts: Any) -> None:
        """What the processor sends after the request."""
        if event_id is None:
            event_id = (await events(self.settings, self.execution_id))[0].id
        item = command(kind, self.execution_id, event_id, **facts)
        await emit(self.settings, self.settings.topics.commands, [item])

    async def outcome(self) -> Outcome:
        async with asyncio.timeout(15):
            return await self.task

    async def published(self) -> list[EventData]:
        """What was published after the request."""
        return [event.data for event in await events(self.settings, self.execution_id)][1:]


@pytest.fixture(scope="module")
async def api() -> AsyncIterator[StubApi]:
    async with stub_api() as stub:
        yield stub


@pytest.fixture(scope="module")
def stage_settings(broker_settings: Settings, api: StubApi) -> Settings:
    return broker_settings.model_copy(update={"api_url": api.url})


def _is_gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def _python(code: str) -> tuple[str, ...]:
    return (sys.executable, "-u", "-c", code)


async def test_a_command_that_succeeds(stage_settings: Settings) -> None:
    code = (
        "import json, os, sys; print('[1/2] 50%'); print('careful', file=sys.stderr);"
        "resource = dict(kind='file', id=os.environ['MILEPOST_EXECUTION_ID']);"
        "open(os.environ['MILEPOST_RESOURCES'], 'w').write(json.dumps(resource));"
        "print(os.environ['MILEPOST_TENANT'], os.getpid() == os.getpgid(0))"
    )
    async with Stage(stage_settings, *_python(code)) as stage:
        await stage.send("start")
        outcome = await stage.outcome()
        assert outcome == Outcome(stage.execution_id, State.SUCCEEDED, 0, False)
        started, *between, succeeded = await stage.published()

    assert isinstance(started, Started)
    assert started.resources is not None
    [process] = started.resources
    assert process.kind == "process"
    assert process.id.startswith(f"{socket.gethostname()}/")
    assert process.attributes is not None
    assert process.attributes["command"] == list(_python(code))
    progressed = [event for event in between if isinstance(event, Progressed)]
    assert len(progressed) == len(between)
    lines = [line for event in progressed for line in event.log_lines or ()]
    assert {(line.stream, line.message) for line in lines} == {
        ("stdout", "[1/2] 50%"),
        ("stderr", "careful"),
        ("stdout", "acme True"),
    }
    last = progressed[-1].progress
    assert last is not None
    assert (last.percent, last.step, last.steps) == (50, 1, 2)
    assert isinstance(succeeded, Succeeded)
    assert succeeded.outputs is not None
    assert succeeded.outputs["exit_code"] == 0
    assert succeeded.resources == (
        Resource("process", process.id, status=RELEASED),
        Resource("file", stage.execution_id),
    )
    assert stage.printed == {"stdout": b"[1/2] 50%\nacme True\n", "stderr": b"careful\n"}


@pytest.mark.parametrize(
    ("arguments", "code", "exit_code", "details"),
    [
        (_python("import sys; print('oh no'); sys.exit(3)"), "exit_status", 3, {"exit_code": 3}),
        (
            ("sh", "-c", "kill -9 $$"),
            "ended_by_signal",
            128 + signal.SIGKILL,
            {"exit_code": 137, "signal": "SIGKILL"},
        ),
        (("no-such-command-anywhere",), "command_not_found", 127, {"exit_code": 127}),
        ((os.devnull,), "command_not_executable", 126, {"exit_code": 126}),
    ],
)
async def test_a_command_that_fails_says_why(
    stage_settings: Settings,
    arguments: tuple[str, ...],
    code: str,
    exit_code: int,
    details: dict[str, Any],
) -> None:
    async with Stage(stage_settings, *arguments) as stage:
        await stage.send("start")
        assert await stage.outcome() == Outcome(stage.execution_id, State.FAILED, exit_code, False)
        failed = (await stage.published())[-1]
    assert isinstance(failed, Failed)
    assert failed.failure.code == code
    assert arguments[0] in failed.failure.message
    assert failed.failure.details == details
    if code == "exit_status":
        assert failed.failure.last_lines == ("oh no",)


async def test_it_does_not_start_before_its_command(stage_settings: Settings) -> None:
    marker = f"started {uuid4().hex}"
    async with Stage(stage_settings, "echo", marker) as stage:
        await stage.send("start", tenant="globex")
        assert await stage.published() == []
        assert stage.printed["stdout"] == b""
        await stage.send("start")
        await stage.outcome()
        assert stage.printed["stdout"] == f"{marker}\n".encode()


STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, lambda *_: print('no', flush=True));"
    "print('ready', flush=True)\nwhile True: time.sleep(60)"
)


async def test_a_cancellation_request_ends_it(stage_settings: Settings, tmp_path: Path) -> None:
    # The shell leaves a child behind, which must end, too.
    child = tmp_path / "child"
    script = f"sleep 300 & echo $! > {child}; echo ready; wait"
    async with Stage(stage_settings, "sh", "-c", script) as stage:
        await stage.send("start")
        await stage.update("ready")
        await stage.send("cancel", "a-request", reason="too slow", requested_by="ann")
        assert await stage.outcome() == Outcome(stage.execution_id, State.CANCELLED, 130, False)
        cancelled = (await stage.published())[-1]
    assert isinstance(cancelled, Cancelled)
    assert (cancelled.reason, cancelled.requested_by) == ("too slow", "ann")
    assert cancelled.resources is not None
    assert cancelled.resources[0].status == RELEASED
    assert _is_gone(int(child.read_text()))


async def test_the_caller_ends_even_a_stubborn_one(stage_settings: Settings) -> None:
    async with Stage(stage_settings, *_python(STUBBORN), grace_seconds=0.3) as stage:
        await stage.send("start")
        await stage.update("ready")
        stage.cancel.set()
        assert (await stage.outcome()).exit_code == 130
        assert isinstance((await stage.published())[-1], Cancelled)
        assert b"no" in stage.printed["stdout"]


async def test_cancelling_the_coroutine_cancels_the_execution(stage_settings: Settings) -> None:
    async with Stage(stage_settings, "sh", "-c", "echo ready; exec sleep 300") as stage:
        await stage.send("start")
        await stage.update("ready")
        stage.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stage.outcome()
        assert isinstance((await stage.published())[-1], Cancelled)


async def test_one_that_is_called_off_before_its_command_never_starts(
    stage_settings: Settings,
) -> None:
    async with Stage(stage_settings, "echo", "ran") as stage:
        stage.cancel.set()
        await stage.send("start")
        assert await stage.outcome() == Outcome(stage.execution_id, State.CANCELLED, 130, False)
        [cancelled] = await stage.published()
        assert isinstance(cancelled, Cancelled)
        assert stage.printed["stdout"] == b""


async def test_a_caller_who_gives_up_before_it_is_known_whose_it_is_publishes_nothing(
    stage_settings: Settings,
) -> None:
    async with Stage(stage_settings, "echo", "ran", grace_seconds=0.1) as stage:
        stage.cancel.set()
        assert await stage.outcome() == Outcome(stage.execution_id, State.PENDING, 130, False)
        assert await stage.published() == []


async def test_what_another_request_started_is_followed(
    stage_settings: Settings, api: StubApi
) -> None:
    async with Stage(stage_settings, "echo", "ran") as stage:
        await stage.send("start", "the-first-request")
        followed = stage.execution_id
        await api.show(view(followed, State.RUNNING, 2, progress=Progress(message="halfway")))
        assert (await stage.update("halfway")).state is State.RUNNING
        failure = ViewedFailure(code="exit_status", message="it broke", details={"exit_code": 7})
        await api.show(view(followed, State.FAILED, 3, failure=failure))
        assert await stage.outcome() == Outcome(followed, State.FAILED, 7, True)
        assert await stage.published() == []
        assert stage.printed["stdout"] == b""


async def test_what_was_started_long_ago_is_known_from_the_api(
    stage_settings: Settings, api: StubApi
) -> None:
    async with Stage(stage_settings, "echo", "ran") as stage:
        # A request that is only noted yet decides nothing.
        await api.show(view(stage.execution_id, State.PENDING, 0))
        await api.show(view(stage.execution_id, State.SUCCEEDED, 5, command_event_id="old"))
        assert await stage.outcome() == Outcome(stage.execution_id, State.SUCCEEDED, 0, True)
        assert await stage.published() == []


async def test_a_follower_who_stops_only_stops_following(
    stage_settings: Settings, api: StubApi
) -> None:
    async with Stage(stage_settings, "echo", "ran") as stage:
        await api.show(view(stage.execution_id, State.RUNNING, 2, command_event_id="other"))
        await stage.update("followed")
        stage.cancel.set()
        assert await stage.outcome() == Outcome(stage.execution_id, State.RUNNING, 130, True)
        assert await stage.published() == []


async def test_a_process_left_behind_does_not_keep_it_from_ending(
    stage_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execution, "_DRAIN_SECONDS", 0.2)
    script = "sleep 300 & echo $!"
    async with Stage(stage_settings, "sh", "-c", script) as stage:
        await stage.send("start")
        assert (await stage.outcome()).state is State.SUCCEEDED
    # A service that a command starts and leaves running is its business.
    os.kill(int(stage.printed["stdout"]), signal.SIGKILL)


async def test_a_flood_of_lines_is_bounded_and_its_end_is_kept(stage_settings: Settings) -> None:
    async with Stage(stage_settings, "seq", "100000") as stage:
        await stage.send("start")
        await stage.outcome()
        published = await stage.published()
    lines = [
        line.message
        for event in published
        if isinstance(event, Progressed)
        for line in event.log_lines or ()
    ]
    assert len(lines) < 10_000
    assert lines[-1] == "100000"
    assert any("left out" in line for line in lines)
    assert stage.printed["stdout"].count(b"\n") == 100_000


async def test_there_must_be_a_command(stage_settings: Settings) -> None:
    with pytest.raises(ValueError, match="no command"):
        await run([], tenant="acme", settings=stage_settings)
