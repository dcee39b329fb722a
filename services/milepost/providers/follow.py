"""Following an execution that another caller runs."""

import asyncio

from milepost.client import Execution, ExecutionHandle, MilepostClient, State
from milepost.providers.caller import CANCELLED, Caller, Outcome


async def follow(api: MilepostClient, handle: ExecutionHandle, caller: Caller) -> Outcome:
    """Show how it goes until it is over, and pass on its exit code.

    A caller who says stop only stops following (exit code 130).
    """
    last: Execution | None = None

    async def watch() -> None:
        nonlocal last
        async for last in api.updates(handle.execution_id, tenant=handle.tenant):
            caller.tell(last.state, _line(last))

    watching = asyncio.create_task(watch())
    with caller.stopping() as stopping:
        try:
            await asyncio.wait([watching, stopping], return_when=asyncio.FIRST_COMPLETED)
            if watching.done():
                await watching
        finally:
            watching.cancel()
    stopped = not watching.done()
    state = last.state if last else State.PENDING
    return Outcome(handle.execution_id, state, CANCELLED if stopped else exit_code(last), True)


def exit_code(view: Execution | None) -> int:
    """The exit code of the command behind an execution that is over."""
    if view is None or view.state is State.CANCELLED:
        return CANCELLED
    if view.state is State.SUCCEEDED:
        return 0
    details = view.failure.details if view.failure else None
    code = (details or {}).get("exit_code")
    return code if isinstance(code, int) and 0 < code < 256 else 1


def _line(view: Execution) -> str:
    if view.failure is not None:
        return view.failure.message
    if view.state is State.RUNNING and view.progress is not None and view.progress.message:
        return view.progress.message
    return f"{view.state.value} (followed)"
