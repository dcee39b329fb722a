"""Nothing that Milepost started is left running, however it came to its end."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import psutil
import pytest

from milepost.embedded.kafka import default_cache

START_S = 60.0
END_S = 20.0

PARENT = """
import asyncio, sys
from pathlib import Path
from milepost.embedded import EmbeddedKafka, EmbeddedPostgres

async def main() -> None:
    data = Path(sys.argv[1])
    async with EmbeddedKafka(data / "kafka") as kafka, EmbeddedPostgres(data / "pg") as postgres:
        print(kafka.pid, postgres.pid, flush=True)
        await asyncio.Event().wait()

try:
    asyncio.run(main())
except KeyboardInterrupt:
    pass
"""


async def start_parent(data: Path) -> tuple[asyncio.subprocess.Process, list[psutil.Process]]:
    """A process with both services, on a machine without Java, and everything it started."""
    home = data / "home"
    home.mkdir()
    parent = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        PARENT,
        str(data),
        stdout=asyncio.subprocess.PIPE,
        env={
            **{name: value for name, value in os.environ.items() if name != "JAVA_HOME"},
            "PATH": "",
            "HOME": str(home),
            "MILEPOST_CACHE": str(default_cache()),
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        },
    )
    assert parent.stdout is not None
    async with asyncio.timeout(START_S):
        pids = [int(word) for word in (await parent.stdout.readline()).split()]
    started = psutil.Process(parent.pid).children(recursive=True)
    assert set(pids) < {process.pid for process in started}
    return parent, started


async def all_gone(processes: list[psutil.Process]) -> bool:
    _, alive = await asyncio.to_thread(psutil.wait_procs, processes, END_S)
    return not alive


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
async def test_parent_ends(tmp_path: Path, end: signal.Signals) -> None:
    parent, started = await start_parent(tmp_path)
    parent.send_signal(end)
    assert await parent.wait() == (-end if end == signal.SIGKILL else 0)
    assert await all_gone(started)
    # Both were asked, not killed: Postgres has no crash to recover from.
    assert "database system is shut down" in (tmp_path / "pg" / "postgres.log").read_text()
    assert "shut down completed" in (tmp_path / "kafka" / "kafka.log").read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="the parent death signal is Linux's")
async def test_guardians_are_killed_too(tmp_path: Path) -> None:
    parent, started = await start_parent(tmp_path)
    for guardian in psutil.Process(parent.pid).children():
        guardian.kill()
    parent.kill()
    await parent.wait()
    assert await all_gone(started)
