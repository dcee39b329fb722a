"""One supervised child process, and the life cycle that Kafka and Postgres share."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import json
import os
import random
import signal
import socket
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import psutil

HOST = "127.0.0.1"
Progress = Callable[[str], None]

_GUARDIAN = Path(__file__).with_name("guardian.py")
_POLL_S = 0.02
_TAIL_LINES = 20
_KEEP_LOG_BYTES = 16 * 1024 * 1024
# Below every system's ephemeral range, so that no outgoing connection takes the port between the
# moment it was found free and the moment the server binds it, or while a killed server is down.
_FREE_PORTS = range(15_000, 32_000)
_PORT_TRIES = 3
_HOLD_TIMEOUT_S = 20.0  # longer than any service's way to its SIGKILL


class EmbeddedError(Exception):
    """An embedded service cannot do what was asked; the message says what, where and the remedy.

    Meant to be printed as it is, without a stack trace.
    """


def silent(message: str) -> None:
    """The progress callback that shows nothing."""


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
            raise EmbeddedError(f"{command.argv[0]} could not be executed.{_tail_of(log_file)}")
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
                _rotate(self.log_file)
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
        return kind(f"{self.name} {what} while starting.{_tail_of(self.log_file)}")

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


def make_folder(
    folder: Path, remedy: str = "Give Milepost a folder that this user may write in."
) -> None:
    """Create `folder` with its parents; EmbeddedError when it cannot be created or written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise EmbeddedError(
            f"cannot write in the folder {folder}: {error.strerror}. {remedy}"
        ) from None


def free_port() -> int:
    """A TCP port that is free on 127.0.0.1 now, below the ephemeral range."""
    for port in random.sample(_FREE_PORTS, 200):
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
    raise EmbeddedError(f"no free TCP port on {HOST} in {_FREE_PORTS.start}-{_FREE_PORTS.stop}")


def check_port(name: str, port: int) -> None:
    """EmbeddedError, naming the holder where it can be seen, when `port` cannot be bound."""
    with socket.socket() as probe:
        # As the servers do: connections of a predecessor in TIME_WAIT are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise EmbeddedError(
                    f"{name} needs port {port} on {HOST}, but {_holder(port)} has it. "
                    "Stop that, or choose another port."
                ) from None
            raise EmbeddedError(
                f"{name} may not listen on port {port} of {HOST}: {error.strerror}. "
                "Choose another port."
            ) from None


def _holder(port: int) -> str:
    with contextlib.suppress(psutil.Error):
        for connection in psutil.net_connections("tcp"):
            listens = connection.status == psutil.CONN_LISTEN
            if listens and connection.laddr and connection.laddr.port == port and connection.pid:
                return f"{psutil.Process(connection.pid).name()} (process {connection.pid})"
    return "another process"


@dataclass
class Hold:
    """An exclusive lock on a folder, let go at the end of the `with` block.

    A guardian that inherited the descriptor keeps it beyond that.
    """

    _fd: int

    def fileno(self) -> int:
        """The descriptor that carries the lock."""
        return self._fd

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        os.close(self._fd)


async def hold_folder(
    folder: Path, what: str, progress: Progress, timeout_s: float | None = None
) -> Hold:
    """Lock `folder` between processes, waiting up to `timeout_s` (default 20) for another to let go.

    The wait covers a predecessor that is still shutting down after its parent crashed.
    Raises EmbeddedError naming `what` is in use.
    """
    fd = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + (timeout_s or _HOLD_TIMEOUT_S)
    waiting = False
    try:
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return Hold(fd)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise EmbeddedError(
                        f"{what} is in use by another Milepost. Stop that one, "
                        "or choose another folder."
                    ) from None
            if not waiting:
                progress(f"waiting for another Milepost to let go of {what}")
                waiting = True
            await asyncio.sleep(_POLL_S)
    except BaseException:
        os.close(fd)
        raise


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


def _open_log(log_file: Path) -> BinaryIO:
    # For its owner only: statements show in it.
    return open(os.open(log_file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab")


def _rotate(log_file: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        if log_file.stat().st_size > _KEEP_LOG_BYTES:
            log_file.replace(log_file.with_suffix(".log.1"))


def _tail_of(log_file: Path) -> str:
    lines = log_file.read_text(errors="replace").splitlines()[-_TAIL_LINES:]
    shown = "\n".join(f"  {line}" for line in lines)
    return f" Its log is {log_file}; the last lines:\n{shown}"
