"""Runs a command as an execution: what `milepost run` does.

The command is started only on its command from `commands.v1`. Where another request started the
execution already, it is followed instead, so that nothing runs twice.
"""

import asyncio
import socket
from asyncio import FIRST_COMPLETED
from collections.abc import Mapping, Sequence
from typing import Final

from milepost.client import Commands, MilepostClient, Publisher, State
from milepost.providers.caller import (
    CANCELLED,
    Caller,
    Echo,
    OnUpdate,
    Outcome,
    Update,
    pass_on,
    show_nothing,
)
from milepost.providers.execution import HEARTBEAT_SECONDS, Execution
from milepost.providers.follow import follow
from milepost.providers.ownership import Ownership
from milepost.settings import Settings

__all__ = ["Echo", "OnUpdate", "Outcome", "Update", "run"]

PROVIDER: Final = "process"
_HINT_SECONDS: Final = 10


async def run(
    command: Sequence[str],
    *,
    tenant: str,
    operation: str = "provision",
    key: str | None = None,
    labels: Mapping[str, str] | None = None,
    settings: Settings | None = None,
    on_update: OnUpdate = show_nothing,
    echo: Echo = pass_on,
    cancel: asyncio.Event | None = None,
    grace_seconds: float = 10,
    broker_seconds: float = 30,
) -> Outcome:
    """Request an execution of `command`, run it when told to, and publish what truly happens.

    `key` (or, without one, the command itself) makes the execution: the same again follows the
    first. Setting `cancel`, a cancellation request from anywhere, or cancelling this coroutine ends
    the command: SIGTERM, then SIGKILL after `grace_seconds`. A follower only stops following.
    A broker that does not answer is given up after `broker_seconds` when nothing has begun yet.

    The command finds `MILEPOST_EXECUTION_ID` and `MILEPOST_TENANT` in its environment, and in
    `MILEPOST_RESOURCES` a file to which it may write resources, one JSON object a line.

    Raises the errors of `milepost.client.Publisher`.
    """
    if not command:
        raise ValueError("there is no command to run")
    stop = cancel or asyncio.Event()
    settings = settings or Settings()
    source = f"/providers/{PROVIDER}/{socket.gethostname()}"

    async def work() -> Outcome:
        # The commands first: from here on, ours cannot be missed.
        async with (
            Commands(settings, providers={PROVIDER}, timeout=broker_seconds) as commands,
            Publisher(settings, source=source, timeout=broker_seconds) as publisher,
            MilepostClient(settings.api_url, settings.bearer) as api,
        ):
            handle = await publisher.request(
                tenant,
                operation,
                provider=PROVIDER,
                parameters={"command": list(command)},
                key=key,
                labels=labels,
                expectations={"heartbeat_seconds": 6 * HEARTBEAT_SECONDS},
            )
            caller = Caller(handle.execution_id, on_update, echo, stop, grace_seconds)
            caller.tell(State.PENDING, "requested")
            async with Ownership(handle, commands, api) as ownership:
                ours = await _ours(ownership, caller)
                if ours is None:
                    return Outcome(handle.execution_id, State.PENDING, CANCELLED, False)
                if not ours:
                    return await follow(api, handle, caller)
                return await Execution(command, handle, publisher.clock, caller).run(
                    ownership.called_off
                )

    task = asyncio.create_task(work())
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        stop.set()
        try:
            await asyncio.wait([task])
        finally:
            task.cancel()  # cancelled once more: then at once
        raise


async def _ours(ownership: Ownership, caller: Caller) -> bool | None:
    """Whether we are to run it; None when the caller gave up before that was known.

    Until it is known, nothing may be published about what may be another's work: a caller who gives
    up is kept for the grace period, so that an execution of ours can still be reported cancelled.
    """
    with caller.stopping() as stopping:
        await asyncio.wait(
            [ownership.ours, stopping], timeout=_HINT_SECONDS, return_when=FIRST_COMPLETED
        )
        if not ownership.ours.done() and not stopping.done():
            caller.tell(State.PENDING, "no start command yet; is the processor running?")
            await asyncio.wait([ownership.ours, stopping], return_when=FIRST_COMPLETED)
        if not ownership.ours.done():
            await asyncio.wait([ownership.ours], timeout=caller.grace_seconds)
    return await ownership.ours if ownership.ours.done() else None
