"""The life cycle that Kafka and Postgres share."""

from __future__ import annotations

import asyncio
import contextlib
import time
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from milepost.embedded.claims import check_port, free_port, hold_folder, make_folder
from milepost.embedded.errors import EmbeddedError, Progress
from milepost.embedded.process import Child, Command, rotate, tail_of

_POLL_S = 0.02
_PORT_TRIES = 3


class Service(ABC):
    """A server in a child process with a data folder, a port and a log file.

    Use it as an async context manager, or call `start` and `stop`. `data` is created when needed
    and belongs to one running service at a time. A `port` of None means a free one, which stays
    the same over restarts. `progress` receives one line per step that takes noticeable time.
    """

    name: str
    process_name: str
    _start_timeout_s = 60.0

    def __init__(self, data: Path, port: int | None, progress: Progress) -> None:
        self.data = data.absolute()
        self.log_file = self.data / f"{self.name.lower()}.log"
        self._port = port
        self._port_is_free_choice = port is None
        self._progress = progress
        self._child: Child | None = None

    @property
    def port(self) -> int:
        """The TCP port on 127.0.0.1; with a free one asked for, known from the first start on."""
        if self._port is None:
            raise EmbeddedError(f"{self.name} has no port before its first start")
        return self._port

    @property
    def pid(self) -> int:
        """The server's process id (not the guardian's). Raises EmbeddedError when not started."""
        if self._child is None:
            raise EmbeddedError(f"{self.name} is not running")
        return self._child.pid

    @property
    def running(self) -> bool:
        """Whether the process was started and has not ended."""
        return self._child is not None and self._child.returncode is None

    async def start(self) -> None:
        """Start and return once it answers. Raises EmbeddedError, and then nothing runs."""
        if self.running:
            raise EmbeddedError(f"{self.name} is already running as process {self.pid}")
        make_folder(self.data)
        with await hold_folder(self.data, f"{self.name} in {self.data}", self._progress) as lock:
            _end_leftovers(self.process_name, self.data)
            for tries_left in reversed(range(_PORT_TRIES if self._port_is_free_choice else 1)):
                if self._port is None:
                    self._port = free_port()
                check_port(self.name, self._port)
                rotate(self.log_file)
                try:
                    await self._start_once(lock.fileno())
                    break
                except _PortLostError as error:
                    if not tries_left:
                        raise EmbeddedError(str(error)) from None
                    self._port = None
        self._port_is_free_choice = False

    async def _start_once(self, lock_fd: int) -> None:
        command = await self._command()
        log_start = self.log_file.stat().st_size if self.log_file.exists() else 0
        child = await Child.spawn(command, self.log_file, lock_fd)
        try:
            deadline = time.monotonic() + self._start_timeout_s
            while not await self._answers(child.pid):
                if child.returncode is not None:
                    raise self._failure(f"ended with status {child.returncode}", log_start)
                if time.monotonic() > deadline:
                    raise self._failure(
                        f"did not answer within {self._start_timeout_s:.0f} s", log_start
                    )
                await asyncio.sleep(_POLL_S)
        except BaseException:
            await asyncio.shield(child.stop())
            raise
        self._child = child

    def _failure(self, what: str, log_start: int) -> EmbeddedError:
        with self.log_file.open("rb") as log:
            log.seek(log_start)
            lost_port = b"Address already in use" in log.read()
        kind = _PortLostError if lost_port else EmbeddedError
        return kind(f"{self.name} {what} while starting.{tail_of(self.log_file)}")

    async def stop(self) -> None:
        """Shut down cleanly, with a bound after which it is killed. Does nothing when stopped."""
        if self._child is not None:
            await self._child.stop()
            self._child = None

    async def kill(self) -> None:
        """SIGKILL, as a crash would look. `restart` or `start` brings it back on its data."""
        if self._child is not None:
            await self._child.kill()
            self._child = None

    async def restart(self) -> None:
        """Stop if running, start again on the same port and data."""
        await self.stop()
        await self.start()

    async def wait_died(self) -> int:
        """Wait until the process has ended, for whatever reason, `stop` included.

        Returns its exit status (128 + signal when killed by one). Raises EmbeddedError when it is
        not started. For a supervisor, which restarts on a return.
        """
        if self._child is None:
            raise EmbeddedError(f"{self.name} is not running")
        return await self._child.wait()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    @abstractmethod
    async def _command(self) -> Command:
        """Bring the data folder into order and say what to run."""

    @abstractmethod
    async def _answers(self, pid: int) -> bool:
        """Whether the server serves requests."""


class _PortLostError(EmbeddedError):
    """Another process took the port between the check and the bind."""


def _end_leftovers(process_name: str, data: Path) -> None:
    """Kill servers that still run in `data` although nobody holds its lock.

    These are what a `kill -9` of a guardian, or of the postmaster alone, can leave behind:
    Postgres refuses to start while a backend of the former postmaster lives.
    """
    victims = []
    for process in psutil.process_iter(["name"]):
        with contextlib.suppress(psutil.Error):
            if process.info["name"] == process_name and data in (
                cwd := Path(process.cwd()),
                *cwd.parents,
            ):
                process.kill()
                victims.append(process)
    psutil.wait_procs(victims, timeout=10)
