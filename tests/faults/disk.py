"""The disk that Postgres has its data on: full, or slow.

Full is a file system of its own, in memory, that is made as small as what lies on it: Postgres gets
ENOSPC from the system. To mount one takes root, on Linux. Slow is a library of ours before the C
library (slow_flush.c): each flush of Postgres lasts. To build it takes a C compiler.
"""

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Final
from uuid import uuid4

import asyncpg
import httpx2
import psutil

from faults.kinds import STOPPED, Fault
from faults.system import System

TOLD: Final = "No space left on device"
# Seconds until a disk that is full is felt, and that a slow one is slow.
FELT: Final = 30.0
LASTS: Final = 10.0
FLUSH: Final = 0.5  # seconds that a flush of a slow disk lasts
# What a processor may need more while Postgres keeps it waiting.
MORE: Final = 64 * 2**20
_VARIABLE: Final = "MILEPOST_TEST_FLUSH_LASTS"
_SOURCE: Final = Path(__file__).with_name("slow_flush.c")
_SIZE: Final = "4g"


def left_out() -> dict[Fault, str]:
    """What cannot be made on this machine, and why."""
    mount, slow = _cannot_mount(), _cannot_slow()
    reasons = {FULL: mount, FULL_OF_WAL: mount, SLOW: slow}
    return {fault: reason for fault, reason in reasons.items() if reason}


def _cannot_mount() -> str:
    if sys.platform != "linux" or os.geteuid() != 0:
        return "to mount a file system takes root, on Linux"
    tried = subprocess.run(
        ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/tmp"],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    return f"mounting is refused: {tried.stderr.strip()}" if tried.returncode else ""


def _cannot_slow() -> str:
    if sys.platform != "linux" or shutil.which("cc") is None:
        return "to make flushes last takes a C compiler (cc), on Linux"
    return ""


@contextmanager
def mounted(folder: Path) -> Iterator[Path]:
    """A file system on `folder`, until the block ends."""
    folder.mkdir()
    _mount("-t", "tmpfs", "-o", f"size={_SIZE},mode=755", "tmpfs", str(folder))
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@contextmanager
def built(folder: Path) -> Iterator[None]:
    """Whatever Postgres is started in the block can be made slow."""
    library, lasts = folder / "slow_flush.so", folder / "lasts"
    command = ["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(_SOURCE), "-ldl"]
    subprocess.run(command, check=True)
    lasts.write_text("0")
    added = {"LD_PRELOAD": str(library), _VARIABLE: str(lasts)}
    os.environ |= added
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


@contextmanager
def _full(folder: Path) -> Iterator[None]:
    """Not a block is free, until the block ends."""
    _shrink(folder)
    try:
        yield
    finally:
        _mount("-o", f"remount,size={_SIZE}", str(folder))


def _shrink(folder: Path) -> None:
    while True:
        found = os.statvfs(folder)
        used = (found.f_blocks - found.f_bfree) * found.f_frsize
        with suppress(subprocess.CalledProcessError):  # it has grown since
            _mount("-o", f"remount,size={used}", str(folder))
            return


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True)


@asynccontextmanager
async def _no_space(system: System) -> AsyncIterator[None]:
    """Postgres cannot make its tables larger: it refuses what writes, and goes on."""
    told = _told(system)
    with _full(system.postgres.data):
        async with asyncio.timeout(FELT):
            await _api_says_so(system)
            while _told(system) == told:  # noqa: ASYNC110  (a log file announces nothing)
                await asyncio.sleep(0.1)
        await asyncio.sleep(STOPPED)
        assert system.postgres.running
    yield


async def _api_says_so(system: System) -> None:
    """Requests are accepted until there is no room for one more."""
    async with httpx2.AsyncClient(
        base_url=system.direct.api_url, trust_env=False, timeout=10
    ) as api:
        while True:
            answer = await api.post(
                "/v1/tenants/asks-on/executions",
                json={"operation": "provision", "provider": "ecs"},
                headers={"Idempotency-Key": str(uuid4()).ljust(200, "-")},
            )
            if answer.status_code != 202:
                assert answer.status_code == 503, answer.text
                assert answer.headers["content-type"] == "application/problem+json"
                problem = answer.json()
                assert problem["type"] == "/problems/database-unavailable"
                if "DiskFull" in problem["detail"]:
                    return


def _told(system: System) -> int:
    """How often a processor has said that the disk is full."""
    return sum(log.read_text().count(TOLD) for log in system.logs.glob("processor-*.log"))


@asynccontextmanager
async def _no_space_for_wal(system: System) -> AsyncIterator[None]:
    """Postgres cannot go on with its write-ahead log: it ends, and is started when there is space."""
    with _full(system.postgres.data):
        async with asyncio.timeout(FELT):
            await asyncio.gather(_write_wal(system), system.postgres.wait_died())
        await asyncio.sleep(STOPPED)
    await system.postgres.start()
    yield


async def _write_wal(system: System) -> None:
    """Until Postgres has ended. It tries to recover first, which may take some of the log's room."""
    while system.postgres.running:
        with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            look = await system.look()
            try:
                while True:
                    await look.execute(
                        "SELECT pg_logical_emit_message(false, 'fill', repeat('x', 1000000))"
                    )
            finally:
                look.terminate()
        await asyncio.sleep(0.1)


@asynccontextmanager
async def _slow(system: System) -> AsyncIterator[None]:
    """Each flush lasts: whoever waits for Postgres must not gather what comes meanwhile."""
    workers = [psutil.Process((await one.up()).pid) for one in system.processors]
    before = [worker.memory_info().rss for worker in workers]
    with _slowed():
        await _felt(system)
        async with asyncio.timeout(LASTS + FELT):
            ends = asyncio.get_running_loop().time() + LASTS
            while asyncio.get_running_loop().time() < ends:
                more = max(
                    worker.memory_info().rss - held
                    for worker, held in zip(workers, before, strict=True)
                )
                assert more < MORE, f"a processor needs {more:,} bytes more while the disk is slow"
                await asyncio.sleep(0.1)
    yield


@contextmanager
def _slowed() -> Iterator[None]:
    lasts = Path(os.environ[_VARIABLE])
    lasts.write_text(f"{FLUSH * 1_000:.0f}")
    try:
        yield
    finally:
        lasts.write_text("0")


async def _felt(system: System) -> None:
    look = await system.look()
    began = asyncio.get_running_loop().time()
    await look.execute("SELECT pg_logical_emit_message(true, 'slow', 'x')")
    assert asyncio.get_running_loop().time() - began >= FLUSH
    await look.close()


FULL: Final = Fault("disk full for tables", _no_space, slow=True)
FULL_OF_WAL: Final = Fault("disk full for WAL", _no_space_for_wal, slow=True)
SLOW: Final = Fault("disk slow", _slow, slow=True)
DISK: Final = (FULL, FULL_OF_WAL, SLOW)
