"""One command as an operating-system process, and what is published about it."""

import asyncio
import os
import signal
import socket
import tempfile
import time
from asyncio import FIRST_COMPLETED
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from milepost.client import BrokerUnavailable, ExecutionHandle, Resource, State
from milepost.providers.caller import CANCELLED, Caller, Outcome
from milepost.providers.declared import Declared
from milepost.providers.output import Lines, Output
from milepost.providers.ownership import CalledOff
from milepost.schemas.values import RELEASED

HEARTBEAT_SECONDS: Final = 10
NOT_FOUND: Final = 127
NOT_EXECUTABLE: Final = 126
_REPORT_SECONDS: Final = 0.5
# The pipes may outlive the command, held by a process that it left behind.
_DRAIN_SECONDS: Final = 2
# How long after the end the broker may stay away before the end is given up to be reported.
_SETTLE_SECONDS: Final = 120
_PIECE: Final = 64 * 1024


class Execution:
    """Runs a command once and reports it through `handle`."""

    def __init__(
        self,
        command: Sequence[str],
        handle: ExecutionHandle,
        clock: Callable[[], datetime],
        caller: Caller,
    ) -> None:
        self._command = list(command)
        self._handle = handle
        self._clock = clock
        self._caller = caller
        self._output = Output(clock)
        self._ended = asyncio.Event()
        self._give_up = float("inf")
        self._process: Resource | None = None

    async def run(self, called_off: asyncio.Future[CalledOff]) -> Outcome:
        """Start it, report until it ends, and report how it ended."""
        with tempfile.TemporaryDirectory(prefix="milepost-run-") as folder:
            self._declared = Declared(Path(folder) / "resources.jsonl")
            self._declared.path.touch()
            if called_off.done() or self._caller.stop.is_set():
                return await self._cancelled(called_off)
            started = time.monotonic()
            try:
                process, pumps = await self._spawn()
            except OSError as error:
                return await self._not_started(error)
            try:
                stopped = await self._attend(process, pumps, called_off)
            finally:
                if process.returncode is None:  # an error on our side must not leave it behind
                    _signal_group(process, signal.SIGKILL)
            assert process.returncode is not None
            if stopped:
                return await self._cancelled(called_off)
            return await self._over(process.returncode, time.monotonic() - started)

    async def _spawn(self) -> tuple[Process, list[asyncio.Task[None]]]:
        environment = {
            "MILEPOST_EXECUTION_ID": self._handle.execution_id,
            "MILEPOST_TENANT": self._handle.tenant,
            "MILEPOST_RESOURCES": str(self._declared.path),
        }
        # Pipes of our own: asyncio's may keep `wait` waiting for whoever inherited them.
        ends = {stream: os.pipe() for stream in ("stdout", "stderr")}
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=DEVNULL,
                stdout=ends["stdout"][1],
                stderr=ends["stderr"][1],
                env=os.environ | environment,
                start_new_session=True,
            )
        except BaseException:
            for read, _ in ends.values():
                os.close(read)
            raise
        finally:
            for _, write in ends.values():
                os.close(write)
        pumps = [asyncio.create_task(self._pump(name, read)) for name, (read, _) in ends.items()]
        return process, pumps

    async def _attend(
        self,
        process: Process,
        pumps: list[asyncio.Task[None]],
        called_off: asyncio.Future[CalledOff],
    ) -> bool:
        """Report until it ends; whether that was because it was called off."""
        await self._started(process.pid)
        reporting = asyncio.create_task(self._report())
        ending = asyncio.create_task(process.wait())
        try:
            with self._caller.stopping() as stopping:
                reasons: list[asyncio.Future[Any]] = [ending, stopping, called_off]
                await asyncio.wait(reasons, return_when=FIRST_COMPLETED)
            stopped = not ending.done()
            if stopped:
                await self._terminate(process, ending)
            await asyncio.wait(pumps, timeout=_DRAIN_SECONDS)
            self._give_up = time.monotonic() + _SETTLE_SECONDS
            self._ended.set()
            self._output.news.set()
            await reporting
        finally:
            for task in (*pumps, reporting, ending):
                task.cancel()
        return stopped

    async def _terminate(self, process: Process, ending: asyncio.Task[int]) -> None:
        self._caller.tell(State.RUNNING, "stopping")
        _signal_group(process, signal.SIGTERM)
        await asyncio.wait([ending], timeout=self._caller.grace_seconds)
        # Also what the command itself left behind in its group.
        _signal_group(process, signal.SIGKILL)
        await ending

    async def _pump(self, stream: str, descriptor: int) -> None:
        """Pass on what the command prints, and keep its lines for the next report."""
        reader, lines = asyncio.StreamReader(), Lines()
        with os.fdopen(descriptor, "rb", 0) as pipe:
            transport, _ = await asyncio.get_running_loop().connect_read_pipe(
                lambda: asyncio.StreamReaderProtocol(reader), pipe
            )
            try:
                while piece := await reader.read(_PIECE):
                    self._caller.echo(stream, piece)
                    self._output.add(stream, lines.feed(piece))
            finally:
                self._output.add(stream, lines.end())
                transport.close()

    async def _report(self) -> None:
        """Publish lines, progress and resources as they come; a heartbeat when there are none."""
        while not self._ended.is_set() or self._output.news.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(HEARTBEAT_SECONDS):
                    await self._output.news.wait()
            await self._report_once()
            with suppress(TimeoutError):
                async with asyncio.timeout(_REPORT_SECONDS):
                    await self._ended.wait()

    async def _report_once(self) -> None:
        resources, problems = self._declared.fresh(last=self._ended.is_set())
        for problem in problems:
            self._caller.echo("stderr", f"milepost: {problem}\n".encode())
        self._output.add("milepost", problems)
        lines, progress, now = self._output.take(), self._output.progress, self._clock()
        if self._ended.is_set() and not (lines or resources):
            return
        if lines and progress.message:
            self._caller.tell(State.RUNNING, progress.message)
        await self._insist(
            lambda event_id: self._handle.progressed(
                **progress.model_dump(),
                resources=resources or None,
                log_lines=lines or None,
                occurred_at=now,
                event_id=event_id,
            )
        )

    async def _insist(self, publish: Callable[[str], Awaitable[Any]]) -> None:
        """Publish under one event id until it is acknowledged; after the end, for a while only."""
        event_id = str(uuid4())
        while True:
            try:
                await publish(event_id)
            except BrokerUnavailable as error:
                if time.monotonic() > self._give_up:
                    raise
                self._caller.tell(State.RUNNING, f"{error} Trying again.")
            else:
                return

    async def _started(self, pid: int) -> None:
        command = {"pid": pid, "command": self._command}
        self._process = Resource(
            kind="process",
            id=f"{socket.gethostname()}/{pid}",
            status="running",
            attributes=command,
        )
        self._caller.tell(State.RUNNING, f"started as process {pid}")
        details, now = {"working_directory": str(Path.cwd())}, self._clock()
        await self._insist(
            lambda event_id: self._handle.started(
                resources=[self._process] if self._process else None,
                details=details,
                occurred_at=now,
                event_id=event_id,
            )
        )

    async def _over(self, returncode: int, seconds: float) -> Outcome:
        now, resources = self._clock(), self._resources()
        if returncode == 0:
            outputs = {"exit_code": 0, "duration_seconds": round(seconds, 3)}
            await self._insist(
                lambda event_id: self._handle.succeeded(
                    resources=resources, outputs=outputs, occurred_at=now, event_id=event_id
                )
            )
            return self._outcome(State.SUCCEEDED, 0, f"succeeded after {seconds:.1f} s")
        if returncode > 0:
            message = f"{self._command[0]} exited with status {returncode}"
            return await self._failed("exit_status", message, returncode, None)
        number = -returncode
        name = next((one.name for one in signal.Signals if one == number), f"signal {number}")
        return await self._failed(
            "ended_by_signal", f"{self._command[0]} was ended by {name}", 128 + number, name
        )

    async def _not_started(self, error: OSError) -> Outcome:
        if isinstance(error, FileNotFoundError):
            message = f"command not found: {self._command[0]}"
            return await self._failed("command_not_found", message, NOT_FOUND, None)
        message = f"cannot execute {self._command[0]}: {error.strerror}"
        return await self._failed("command_not_executable", message, NOT_EXECUTABLE, None)

    async def _failed(
        self, code: str, message: str, exit_code: int, signal_name: str | None
    ) -> Outcome:
        now, resources = self._clock(), self._resources()
        details: dict[str, Any] = {"exit_code": exit_code}
        if signal_name is not None:
            details["signal"] = signal_name
        await self._insist(
            lambda event_id: self._handle.failed(
                code,
                message,
                details=details,
                last_lines=list(self._output.last_lines),
                resources=resources,
                occurred_at=now,
                event_id=event_id,
            )
        )
        return self._outcome(State.FAILED, exit_code, message)

    async def _cancelled(self, called_off: asyncio.Future[CalledOff]) -> Outcome:
        asked = called_off.result() if called_off.done() else CalledOff("interrupted", None)
        now, resources = self._clock(), self._resources()
        await self._insist(
            lambda event_id: self._handle.cancelled(
                reason=asked.reason,
                requested_by=asked.requested_by,
                resources=resources,
                occurred_at=now,
                event_id=event_id,
            )
        )
        return self._outcome(State.CANCELLED, CANCELLED, "cancelled")

    def _resources(self) -> list[Resource] | None:
        """What the command declared, and its process, which is gone."""
        if self._process is None:
            return self._declared.resources or None
        gone = Resource(kind=self._process.kind, id=self._process.id, status=RELEASED)
        return [gone, *self._declared.resources]

    def _outcome(self, state: State, exit_code: int, message: str) -> Outcome:
        self._caller.tell(state, message)
        return Outcome(self._handle.execution_id, state, exit_code, False)


def _signal_group(process: Process, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
