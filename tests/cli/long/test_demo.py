"""`milepost demo`: it does the job, and it would notice if that went wrong."""

import asyncio
import json
import os
import re
import signal
from asyncio.subprocess import Process
from collections import Counter
from pathlib import Path

import pytest

from cli.conftest import start
from milepost.cli.demo.operations import Operation
from milepost.cli.demo.review import Found, differences
from milepost.client import Execution, State
from milepost.providers.caller import Outcome

ID = "94041b0c-92a6-500c-b49f-552d28f44052"
SECONDS = 120
OFFER = re.compile(r"MILEPOST_KAFKA_BOOTSTRAP_SERVERS=(\S+) milepost (completions tail .*)")
TIME = "2026-11-24T11:26:49Z"


async def test_the_demo_ends_well_and_shows_what_it_did(tmp_path: Path) -> None:
    here, temporary = tmp_path / "here", tmp_path / "temporary"
    here.mkdir()
    temporary.mkdir()
    # Another stack's address must not reach it.
    variables = {"MILEPOST_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "TMPDIR": str(temporary)}
    demo = await start("demo", cwd=here, **variables)
    assert demo.stdout is not None
    assert demo.stderr is not None
    async with asyncio.timeout(SECONDS):
        tail, out, _ = await asyncio.gather(
            _tail_of(demo.stderr, here), demo.stdout.read(), demo.wait()
        )
        tail.send_signal(signal.SIGINT)
        told, _ = await tail.communicate()
    assert demo.returncode == 0
    assert "6 executions by 8 calls: each ended as it should." in out.decode()
    for part in (
        "virtualenv /", "exit_status: ", "cancelled: no longer needed", "Timeline of", "(equal)",
    ):  # fmt: skip
        assert part in out.decode()
    ids = Counter(json.loads(line)["execution_id"] for line in told.splitlines())
    assert list(ids.values()) == [1] * 6
    assert os.listdir(here) == os.listdir(temporary) == []


async def _tail_of(said: asyncio.StreamReader, folder: Path) -> Process:
    """Starts the command that the demo offers for its completions; reads all that it says."""
    tail = None
    async for line in said:
        if found := OFFER.search(line.decode()):
            servers, arguments = found.groups()
            tail = await start(
                *arguments.split(), "-o", "json", cwd=folder,
                MILEPOST_KAFKA_BOOTSTRAP_SERVERS=servers,
            )  # fmt: skip
    assert tail is not None, "the demo offers no command"
    return tail


def execution(state: State = State.SUCCEEDED, *, transitions: int = 3) -> Execution:
    steps = [
        {"state": one, "occurred_at": TIME, "reported_at": TIME, "recorded_at": TIME,
         "event_id": "e", "source": "/s", "partition": 0, "offset": 0}
        for one in (State.PENDING, State.RUNNING, state)[:transitions]
    ]  # fmt: skip
    return Execution.model_validate(
        {"execution_id": ID, "tenant": "acme", "state": state, "version": 3, "requested": True,
         "transitions": steps, "first_recorded_at": TIME, "recorded_at": TIME}
    )  # fmt: skip


def found(
    view: Execution, *, completions: int = 1, listed: int = 1, received: bool = True
) -> Found:
    counted = Counter({(ID, view.state): completions})
    return Found(
        {ID: view}, {"acme": [ID] * listed}, set(), {ID} if received else set(), counted, []
    )


OURS = Outcome(ID, State.SUCCEEDED, 0, followed=False)
FOLLOWED = Outcome(ID, State.SUCCEEDED, 0, followed=True)
OPERATION = Operation("a thing", "acme", "provision", ["true"])


@pytest.mark.parametrize(
    ("outcomes", "seen", "named"),
    [
        ([OURS, OURS], found(execution()), "2 of its calls ran the command"),
        ([FOLLOWED], found(execution()), "0 of its calls ran the command"),
        ([OURS._replace(exit_code=3)], found(execution()), "exit status 3, not 0"),
        ([OURS], found(execution(State.FAILED)), "failed, not succeeded"),
        ([OURS], found(execution(transitions=2)), "its transitions are pending, running"),
        ([OURS], found(execution(), completions=0), "0 completions, not 1"),
        ([OURS], found(execution(), completions=2), "2 completions, not 1"),
        ([OURS], found(execution(), received=False), "no subscriber heard"),
        ([OURS], found(execution(), listed=0), "lists 0 executions, not 1"),
        ([OURS], found(execution(), listed=2), "lists 2 executions, not 1"),
    ],
)
def test_the_demo_notices(outcomes: list[Outcome], seen: Found, named: str) -> None:
    assert any(named in one for one in differences([OPERATION], {"a thing": outcomes}, seen))


def test_the_demo_is_content_with_what_is_right() -> None:
    assert differences([OPERATION], {"a thing": [OURS, FOLLOWED]}, found(execution())) == []
