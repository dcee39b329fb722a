"""The `milepost` command as its users start it: in processes of its own."""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

import psutil
import pytest

_READY_SECONDS: Final = 60
_NEWS_SECONDS: Final = 40
_END_SECONDS: Final = 30


class Ended(NamedTuple):
    """How a command ended and what it printed."""

    status: int
    out: str
    err: str


def environment(**variables: str) -> dict[str, str]:
    """The environment without settings of the person who runs the tests, and with these."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("MILEPOST_") or name == "MILEPOST_CACHE"
    }
    return kept | variables


async def milepost(*arguments: str, cwd: Path, **variables: str) -> Ended:
    """Run `milepost` to its end in the folder `cwd`."""
    return await python("-m", "milepost.cli", *arguments, cwd=cwd, **variables)


async def start(*arguments: str, cwd: Path, **variables: str) -> Process:
    """Start `milepost` in the folder `cwd`, its output to be read."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "milepost.cli", *arguments),
        cwd=cwd,
        env=environment(**variables),
        stdout=PIPE,
        stderr=PIPE,
    )


async def python(*arguments: str, cwd: Path, **variables: str) -> Ended:
    """Run Python to its end in the folder `cwd`."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, *arguments),
        cwd=cwd,
        env=environment(**variables),
        stdout=PIPE,
        stderr=PIPE,
    )
    async with asyncio.timeout(_END_SECONDS * 2):
        out, err = await process.communicate()
    assert process.returncode is not None
    return Ended(process.returncode, out.decode(), err.decode())


class Up:
    """A running `milepost up`; `ready` is the JSON that it printed, `folder` where it was started."""

    def __init__(self, process: Process, folder: Path) -> None:
        self.process = process
        self.folder = folder
        self.ready: dict[str, Any] = {}
        self._said: list[str] = []

    @classmethod
    async def start(cls, folder: Path, *arguments: str, **variables: str) -> Self:
        """Start it in `folder`; return when it is ready."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "milepost.cli", "up", *arguments),
            cwd=folder,
            env=environment(**variables),
            stdout=PIPE,
            stderr=PIPE,
        )
        up = cls(process, folder)
        assert process.stdout is not None
        try:
            async with asyncio.timeout(_READY_SECONDS):
                up.ready = json.loads(await process.stdout.readline())
        except BaseException:
            with suppress(ProcessLookupError):
                process.kill()
            raise
        return up

    def family(self) -> list[psutil.Process]:
        """Every process below it."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def child(self, command: str) -> psutil.Process:
        """The process of `milepost <command>`."""
        for one in self.family():
            with suppress(psutil.Error):  # it has just ended
                if one.cmdline()[-2:] == ["milepost.cli", command]:
                    return one
        raise AssertionError(f"no process runs `milepost {command}`")

    async def heard(self, line: str) -> None:
        """Wait until it says `line` on standard error."""
        assert self.process.stderr is not None
        async with asyncio.timeout(_NEWS_SECONDS):
            while line not in self._said:
                read = await self.process.stderr.readline()
                assert read, f"it ended without saying {line!r}: {self._said}"
                self._said.append(read.decode().rstrip("\n"))

    async def end(self, number: signal.Signals) -> int:
        """Send a signal and wait for its end; return the exit status."""
        if self.process.returncode is None:
            self.process.send_signal(number)
        async with asyncio.timeout(_END_SECONDS):
            await self.process.communicate()
        assert self.process.returncode is not None
        return self.process.returncode


def left(family: list[psutil.Process], within: float = 0) -> list[psutil.Process]:
    """Those that still run after `within` seconds."""
    alive: list[psutil.Process] = psutil.wait_procs(family, timeout=within)[1]
    return alive


StartUp = Callable[..., Awaitable[Up]]


@pytest.fixture(scope="module")
async def start_up(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[StartUp]:
    """Starts `milepost up <arguments>` in a folder of its own.

    What runs at the end of the module gets SIGTERM, and must end well and leave nothing.
    """
    started: list[Up] = []

    async def start(*arguments: str, **variables: str) -> Up:
        folder = tmp_path_factory.mktemp("up")
        started.append(await Up.start(folder, *arguments, **variables))
        return started[-1]

    yield start
    for one in started:
        if one.process.returncode is None:
            family = one.family()
            assert await one.end(signal.SIGTERM) == 0
            assert left(family) == []
            assert not (one.folder / ".milepost" / "stack.json").exists()


@pytest.fixture(scope="module")
async def up(start_up: StartUp) -> Up:
    """This module's running stack, with its data in `.milepost` below its folder."""
    return await start_up("--api-port", "0")
