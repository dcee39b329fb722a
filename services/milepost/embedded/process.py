"""One child process behind its guardian, and its log file."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import psutil

from milepost.embedded.errors import EmbeddedError

_GUARDIAN = Path(__file__).with_name("guardian.py")
_POLL_S = 0.02
_TAIL_LINES = 20
_KEEP_LOG_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True)
class Command:
    """What to run: `stop` lists the signals that end it, each with the seconds to wait for it."""

    argv: Sequence[str | Path]
    cwd: Path
    stop: Sequence[tuple[signal.Signals, float]] = ((signal.SIGTERM, 10.0),)
    user: tuple[int, int] | None = None  # uid, gid


class Child:
    """A running child process behind its guardian (see guardian.py)."""

    def __init__(self, guardian: asyncio.subprocess.Process, pid: int) -> None:
        self._guardian = guardian
        self.pid = pid

    @classmethod
    async def spawn(cls, command: Command, log_file: Path, held_fd: int | None = None) -> Child:
        """Start `command`, its output appended to `log_file`.

        `held_fd` stays open exactly as long as the guardian lives: a lock on it outlives a crash
        of this process until the child is gone.
        """
        spec = {
            "argv": [str(arg) for arg in command.argv],
            "cwd": str(command.cwd),
            "user": command.user,
            "stop": [(int(number), seconds) for number, seconds in command.stop],
        }
        with _open_log(log_file) as log:
            guardian = await asyncio.create_subprocess_exec(
                sys.executable,
                "-I",
                "-S",
                str(_GUARDIAN),
                json.dumps(spec),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                start_new_session=True,
                pass_fds=() if held_fd is None else (held_fd,),
            )
        assert guardian.stdout is not None
        child = cls(guardian, 0)
        try:
            line = await guardian.stdout.readline()
        except BaseException:
            await asyncio.shield(child.stop())
            raise
        if not line:
            await guardian.wait()
            raise EmbeddedError(f"{command.argv[0]} could not be executed.{tail_of(log_file)}")
        child.pid = int(line)
        return child

    @property
    def returncode(self) -> int | None:
        """The exit status (128 + signal when killed by one), None while it runs."""
        return self._guardian.returncode

    async def wait(self) -> int:
        """Wait for the end, return the exit status."""
        return await self._guardian.wait()

    async def stop(self) -> int:
        """End it with the command's signals, SIGKILL last; return the exit status."""
        assert self._guardian.stdin is not None
        self._guardian.stdin.close()
        return await self._guardian.wait()

    async def kill(self) -> int:
        """SIGKILL it and every descendant of it; return the exit status."""
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(self.pid)
            for victim in [process, *process.children(recursive=True)]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    victim.kill()
        return await self.stop()


async def run(command: Command, log_file: Path) -> int:
    """Run `command` to its end, its output appended to `log_file`; return the exit status."""
    child = await Child.spawn(command, log_file)
    try:
        return await child.wait()
    finally:
        await asyncio.shield(child.stop())


async def wait_until(holds: Callable[[], bool], timeout_s: float) -> bool:
    """Look every 20 ms whether `holds`; False when it did not within `timeout_s`.

    For conditions that other processes bring about and nothing announces.
    """
    deadline = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(_POLL_S)
    return True


def _open_log(log_file: Path) -> BinaryIO:
    # For its owner only: statements show in it.
    return open(os.open(log_file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab")


def rotate(log_file: Path) -> None:
    """Set a log file that has grown past 16 MiB aside, as `<name>.log.1`."""
    with contextlib.suppress(FileNotFoundError):
        if log_file.stat().st_size > _KEEP_LOG_BYTES:
            log_file.replace(log_file.with_suffix(".log.1"))


def tail_of(log_file: Path) -> str:
    """A sentence for an error: where the log is, and its last 20 lines."""
    lines = log_file.read_text(errors="replace").splitlines()[-_TAIL_LINES:]
    shown = "\n".join(f"  {line}" for line in lines)
    return f" Its log is {log_file}; the last lines:\n{shown}"
