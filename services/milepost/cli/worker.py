"""A `milepost` service as a supervised child process."""

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from milepost.cli import parent
from milepost.cli.failures import Unable

_READY_SECONDS: Final = 60.0
# More than a service allows itself for an orderly end.
_STOP_SECONDS: Final = 10.0
_KEEP_LOG_BYTES: Final = 16 * 1024 * 1024
_TAIL_LINES: Final = 5


class Worker:
    """`milepost <command>` in a process that ends with this one; its log is `<folder>/<command>.log`.

    `name` is what people are told of, `ready` is what it said when it was ready. `held` is a
    descriptor that it keeps open, so that a lock on it outlives a crash of this process until the
    service has ended, too.
    """

    def __init__(
        self, command: str, name: str, environment: Mapping[str, str], folder: Path, held: int
    ) -> None:
        self.name = name
        self.ready: dict[str, Any] = {}
        self._command = command
        self._environment = {**environment, parent.VARIABLE: "1"}
        self._log = folder / f"{command}.log"
        self._held = held
        self._process: Process | None = None

    async def start(self) -> None:
        """Start it; return when it is ready. Raises Unable, with the last lines of its log."""
        with self._open_log() as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "milepost.cli", self._command),
                env=os.environ | self._environment,
                stdin=PIPE,
                stdout=PIPE,
                stderr=log,
                pass_fds=(self._held,),
                # Ctrl-C is for this process, which ends its children in order.
                start_new_session=True,
            )
        try:
            async with asyncio.timeout(_READY_SECONDS):
                self.ready = await self._ready_line(self._process)
        except BaseException:
            await asyncio.shield(self.stop())
            raise

    async def wait_died(self) -> int:
        """Return its exit status (negative: by that signal) when it has ended."""
        assert self._process is not None
        return await self._process.wait()

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL when that takes too long."""
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    async def _ready_line(self, process: Process) -> dict[str, Any]:
        assert process.stdout is not None
        line = await process.stdout.readline()
        if not line:
            raise Unable(
                f"{self.name} ended with status {await process.wait()} while starting. "
                f"Its log is {self._log}; the last lines:\n{self._tail()}"
            )
        ready: dict[str, Any] = json.loads(line)
        return ready

    def _tail(self) -> str:
        lines = self._log.read_text(errors="replace").splitlines()[-_TAIL_LINES:]
        return "\n".join(f"  {line}" for line in lines)

    def _open_log(self) -> Any:
        if self._log.exists() and self._log.stat().st_size > _KEEP_LOG_BYTES:
            self._log.replace(self._log.with_suffix(".log.1"))
        return open(os.open(self._log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab")
