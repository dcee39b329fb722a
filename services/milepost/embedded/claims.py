"""What a service claims for itself: a folder, a TCP port."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import random
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil

from milepost.embedded.errors import EmbeddedError, Progress

HOST = "127.0.0.1"

# Below every system's ephemeral range, so that no outgoing connection takes the port between the
# moment it was found free and the moment the server binds it, or while a killed server is down.
_FREE_PORTS = range(15_000, 32_000)
_HOLD_TIMEOUT_S = 20.0  # longer than any service's way to its SIGKILL
_POLL_S = 0.02


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
