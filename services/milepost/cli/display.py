"""How executions and lists look in a terminal, in JSON, and in a pipe."""

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Literal

from cyclopts import Parameter
from pydantic import BaseModel
from rich.console import Console
from rich.table import Table

from milepost.client import Execution

Output = Annotated[Literal["text", "json", "jsonl"], Parameter(name=["--output", "-o"])]
# Nobody reads a pipe: there, nothing is wrapped to a width.
_PIPE_WIDTH = 400
_SHOWN = 2_000
_IDENTIFIERS = ("EXECUTION", "ENDPOINT", "DELIVERY")


def console() -> Console:
    """Standard output: as wide as the terminal, and without bounds where it is none."""
    width = None if sys.stdout.isatty() else _PIPE_WIDTH
    # No markup: what providers report may have brackets.
    return Console(width=width, highlight=False, soft_wrap=False, markup=False)


def table(*columns: str, title: str | None = None) -> Table:
    """An empty table in the style of this command; identifiers are never cut."""
    made = Table(title=title, box=None, title_justify="left", pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column, overflow="fold", no_wrap=column in _IDENTIFIERS)
    return made


def show_all(
    found: Sequence[BaseModel],
    output: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
) -> None:
    """Print a list as `output` asks: a table of these rows, one JSON array, or one object a line."""
    if output == "json":
        print(json.dumps([one.model_dump(mode="json") for one in found]))
    elif output == "jsonl":
        for one in found:
            print(one.model_dump_json())
    else:
        made = table(*columns)
        for cells in rows:
            made.add_row(*map(one_line, cells))
        console().print(made)


def show_facts(found: Iterable[tuple[str, str]]) -> None:
    """Print names and values, one a line."""
    for name, value in found:
        print(f"{name + ':':<12} {one_line(value)}")


def row(execution: Execution) -> tuple[str, str, str, str, str, str]:
    """Execution, operation, state, when it was requested, how long it took, and what came of it."""
    return (
        execution.execution_id,
        execution.operation or "-",
        execution.state.value,
        moment(execution.requested_at or execution.first_recorded_at),
        seconds(execution.duration_seconds),
        result(execution),
    )


def result(execution: Execution) -> str:
    """What came of it: the failure, why it was cancelled, its resources, else its progress."""
    if execution.failure is not None:
        return f"{execution.failure.code}: {execution.failure.message}"
    if execution.cancellation is not None:
        return f"cancelled: {execution.cancellation.reason or 'no reason given'}"
    if resources := [one for one in execution.resources if not one.released]:
        return ", ".join(f"{one.kind} {one.id}" for one in resources)
    return (execution.progress and execution.progress.message) or "-"


def facts(execution: Execution) -> Iterable[tuple[str, str]]:
    """Name and value of everything that is known, for people."""
    yield "execution", execution.execution_id
    yield "tenant", execution.tenant
    yield "operation", execution.operation or "-"
    yield "state", execution.state.value
    if execution.provider:
        yield "provider", execution.provider
    if execution.idempotency_key:
        yield "key", execution.idempotency_key
    for name, value in execution.labels.items():
        yield "label", f"{name}={value}"
    for step in execution.transitions:
        yield step.state.value, moment(step.occurred_at or step.recorded_at)
    yield "duration", seconds(execution.duration_seconds)
    if execution.silent_since is not None:
        yield "silent", f"since {moment(execution.silent_since)}"
    if execution.overdue_since is not None:
        yield "overdue", f"since {moment(execution.overdue_since)}"
    yield "result", result(execution)
    if execution.failure is not None:
        yield "category", f"{execution.failure.category.value}, {execution.failure.origin.value}"
        if execution.failure.next_step:
            yield "next step", execution.failure.next_step
        for line in execution.failure.last_lines or ():
            yield "last lines", line


def moment(time: datetime | None) -> str:
    """A time in UTC, to the millisecond."""
    return time.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + "Z" if time else "-"


def seconds(duration: float | None) -> str:
    """A duration."""
    return "-" if duration is None else f"{duration:.1f} s"


def one_line(text: str) -> str:
    """One line of bounded length: what others have written must not drive the terminal."""
    line = "".join(
        char if char.isprintable() or char == "\t" else f"\\x{ord(char):02x}"
        for char in text[:_SHOWN]
    )
    return line if len(text) <= _SHOWN else f"{line} ... ({len(text):,} characters)"
