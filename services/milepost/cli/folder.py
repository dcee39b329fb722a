"""The folder of a stack: there, writable, and used by one `milepost up` at a time."""

import asyncio
import fcntl
import os
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

from milepost.cli.failures import Unable

# A killed `up` takes its servers with it; this is longer than the slowest of them needs.
_FORMER_SECONDS: Final = 20.0
_POLL_SECONDS: Final = 0.05


@contextmanager
def usable_folder(data: Path | None) -> Iterator[Path]:
    """`data`, made if it is missing; for None a throw-away folder, removed after the block."""
    if data is not None:
        folder = data.absolute()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _not_writable(folder, error) from None
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="milepost-", ignore_cleanup_errors=True) as name:
        # Started by root, Postgres runs as another user, who must get through.
        Path(name).chmod(0o711)
        yield Path(name)


@asynccontextmanager
async def claimed(folder: Path) -> AsyncIterator[int]:
    """The descriptor of a lock on `folder`; processes that inherit it keep the lock as well.

    Raises Unable where another `up` has it. One that was killed is waited for: its servers are on
    their way out.
    """
    path = folder / "up.lock"
    try:
        lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise _not_writable(folder, error) from None
    try:
        deadline = time.monotonic() + _FORMER_SECONDS
        while not _taken(lock):
            owner = path.read_text()
            if _alive(owner) or time.monotonic() > deadline:
                raise Unable(
                    f"another `milepost up` (process {owner}) runs in {folder}. "
                    "Stop it, or choose another folder with --data."
                )
            await asyncio.sleep(_POLL_SECONDS)
        os.ftruncate(lock, 0)
        os.pwrite(lock, str(os.getpid()).encode(), 0)
        yield lock
    finally:
        os.close(lock)


def _taken(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _alive(process: str) -> bool:
    try:
        os.kill(int(process), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        pass
    return True


def _not_writable(folder: Path, error: OSError) -> Unable:
    return Unable(
        f"cannot write in the folder {folder}: {error.strerror}. Choose another with --data."
    )
