"""What a caller of the process provider gives, and what it gets."""

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final, NamedTuple

from milepost.schemas.values import State

CANCELLED: Final = 130


class Update(NamedTuple):
    """Something to show: the state that the execution is in and a line for people."""

    execution_id: str
    state: State
    message: str


class Outcome(NamedTuple):
    """How it went. `exit_code` is what a shell should see: the command's own, 128 + signal, or 130
    when cancelled. `followed`: another caller's process, not ours. `state` is the last one known.
    """

    execution_id: str
    state: State
    exit_code: int
    followed: bool


OnUpdate = Callable[[Update], None]
Echo = Callable[[str, bytes], None]


def show_nothing(update: Update) -> None:
    """The default `on_update`."""


def pass_on(stream: str, piece: bytes) -> None:
    """The default `echo`: what the command prints goes where ours would."""
    with suppress(BrokenPipeError):
        target = (sys.stdout if stream == "stdout" else sys.stderr).buffer
        target.write(piece)
        target.flush()


@dataclass(frozen=True)
class Caller:
    """Where to show things, and how the caller says stop."""

    execution_id: str
    on_update: OnUpdate
    echo: Echo
    stop: asyncio.Event
    grace_seconds: float

    def tell(self, state: State, message: str) -> None:
        """Show a line."""
        self.on_update(Update(self.execution_id, state, message))

    @contextmanager
    def stopping(self) -> Iterator[asyncio.Task[bool]]:
        """A task that is done when the caller has said stop."""
        task = asyncio.create_task(self.stop.wait())
        try:
            yield task
        finally:
            task.cancel()
