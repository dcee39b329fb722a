"""Doing the operations: every call through the code of `milepost run`."""

import asyncio

from milepost.cli.demo.board import Board
from milepost.cli.demo.operations import REASON, Operation
from milepost.client import MilepostClient, State
from milepost.providers import process
from milepost.providers.caller import Outcome, Update
from milepost.settings import Settings

Performed = dict[str, list[Outcome]]


async def perform(planned: list[Operation], settings: Settings, board: Board) -> Performed:
    """Do all of them at once; the outcomes of each one's calls, by its title."""
    async with asyncio.TaskGroup() as group:
        tasks = {
            operation.title: group.create_task(_calls(operation, settings, board))
            for operation in planned
        }
    return {title: task.result() for title, task in tasks.items()}


async def _calls(operation: Operation, settings: Settings, board: Board) -> list[Outcome]:
    """All calls but the last at once, and the last one when those are over."""
    if operation.calls == 1:
        return [await _call(operation, settings, board)]
    together = [_call(operation, settings, board) for _ in range(operation.calls - 1)]
    outcomes = await asyncio.gather(*together)
    return [*outcomes, await _call(operation, settings, board)]


async def _call(operation: Operation, settings: Settings, board: Board) -> Outcome:
    known: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def heard(update: Update) -> None:
        board.update(operation, update)
        if not known.done():
            known.set_result(update.execution_id)

    async with asyncio.TaskGroup() as group:
        canceller = None
        if operation.cancel:
            canceller = group.create_task(_cancel_when_it_works(known, settings))
        outcome = await process.run(
            operation.command,
            tenant=operation.tenant,
            operation=operation.operation,
            key=operation.key,
            settings=settings,
            on_update=heard,
            echo=lambda stream, piece: None,
        )
        if canceller is not None:
            canceller.cancel()
    return outcome


async def _cancel_when_it_works(known: asyncio.Future[str], settings: Settings) -> None:
    execution_id = await known
    async with MilepostClient(settings.api_url, settings.bearer) as api:
        async for view in api.updates(execution_id):
            if view.state is State.RUNNING and view.progress is not None:
                await api.cancel(execution_id, reason=REASON, requested_by="milepost demo")
                return
