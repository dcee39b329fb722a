"""Showing the demo's progress: a live table on a terminal, a line per news elsewhere."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.table import Table

from milepost.cli import display
from milepost.cli.demo.operations import Operation
from milepost.providers.caller import Update


class Board:
    """What is known about each operation, on standard error."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._news: dict[str, Update] = {}
        self._planned: list[Operation] = []

    def say(self, line: str) -> None:
        """A line of its own."""
        self._console.print(line, markup=False)

    @contextmanager
    def showing(self, planned: list[Operation]) -> Iterator[None]:
        """Show the operations while the block runs."""
        self._planned = planned
        if not self._console.is_terminal:
            yield
            return
        with Live(self, console=self._console, refresh_per_second=8):
            yield

    def update(self, operation: Operation, update: Update) -> None:
        """News of an operation."""
        former = self._news.get(operation.title)
        self._news[operation.title] = update
        changed = former is None or former.state is not update.state
        if changed and not self._console.is_terminal:
            what = f"{operation.tenant} {operation.operation} ({operation.title})"
            self.say(f"{what}: {update.state.value}: {update.message}")

    def states(self, planned: list[Operation]) -> str:
        """The last known state of each operation."""
        news = self._news
        return ", ".join(
            f"{one.title}: {news[one.title].state.value if one.title in news else 'not begun'}"
            for one in planned
        )

    def __rich__(self) -> Table:
        table = display.table("TENANT", "OPERATION", "WHAT", "STATE", "NEWS")
        for operation in self._planned:
            news = self._news.get(operation.title)
            state, message = (news.state.value, news.message) if news else ("", "")
            table.add_row(operation.tenant, operation.operation, operation.title, state, message)
        return table
