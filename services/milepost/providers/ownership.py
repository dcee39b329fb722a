"""Who runs an execution: the one whose request brought about its start command."""

import asyncio
from contextlib import suppress
from typing import NamedTuple, Self

from milepost.client import ApiError, Commands, ExecutionHandle, MilepostClient, MilepostError


class CalledOff(NamedTuple):
    """A cancellation request."""

    reason: str | None
    requested_by: str | None


class Ownership:
    """Hears, while its block is open, what is decided about an execution that was requested.

    `ours` becomes True on the start command for our own request, False when another request
    started the execution. `called_off` gets the first cancellation request.
    """

    def __init__(self, handle: ExecutionHandle, commands: Commands, api: MilepostClient) -> None:
        loop = asyncio.get_running_loop()
        self.ours: asyncio.Future[bool] = loop.create_future()
        self.called_off: asyncio.Future[CalledOff] = loop.create_future()
        self._handle = handle
        self._commands = commands
        self._api = api
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._look())]
        return self

    async def __aexit__(self, *error: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)

    async def _listen(self) -> None:
        """Hear the commands for this execution."""
        wanted = (self._handle.tenant, self._handle.execution_id)
        try:
            async for command in self._commands:
                if (command.tenant, command.execution_id) != wanted:
                    continue
                if command.command == "start":
                    self._decide(command.event_id == self._handle.event_id)
                elif not self.called_off.done():
                    self.called_off.set_result(CalledOff(command.reason, command.requested_by))
        except MilepostError as error:
            if not self.ours.done():
                self.ours.set_exception(error)

    async def _look(self) -> None:
        """Ask the API: a command that was sent before we listened does not come again."""
        updates = self._api.updates(self._handle.execution_id, tenant=self._handle.tenant)
        with suppress(ApiError):  # e.g. no token: then the commands alone must do
            async for view in updates:
                # Version 0 is a request of which nothing has come yet.
                if view.version and view.requested:
                    # Where it is ours, the start command is on its way.
                    if view.command_event_id != self._handle.event_id:
                        self._decide(False)
                    return

    def _decide(self, ours: bool) -> None:
        if not self.ours.done():
            self.ours.set_result(ours)
