"""The commands that look after the database: projections rebuilt, compared and taken back; partitions."""

import asyncio
import dataclasses
import gc
import json
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from cyclopts import App
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from milepost.cli import logs
from milepost.cli.display import Output
from milepost.cli.signals import until_stopped
from milepost.settings import Settings

if TYPE_CHECKING:
    from milepost.projections.rebuild import Progress, Report, Result

app: Final = App(
    name="projections",
    help="""The tables folded from the log of events.

    Example: `milepost projections rebuild --verify`
    """,
)
INTERRUPTED: Final = 130
_LINE_SECONDS: Final = 5.0


@app.command
def rebuild(*, verify: bool = False, output: Output = "text") -> int:
    """Fold the log of events into new tables and switch to them, while everything goes on running.

    Nothing is sent out. The tables as they were are kept: `milepost projections rollback` goes back to
    them.

    Example: `milepost projections rebuild --verify`

    Args:
        verify: Only compare: exit status 1 where the tables say something else than the log.
        output: Lines for people, or one JSON object.
    """
    from milepost.projections import rebuild

    # Many small objects that live briefly, as in the processor.
    gc.set_threshold(1_000_000, 50, 100)
    result = _run(rebuild.verify if verify else rebuild.rebuild)
    if result is None:
        return INTERRUPTED
    show(result, output)
    return 1 if verify and not result.equal else 0


@app.command
def rollback(*, output: Output = "text") -> int:
    """Go back to the tables before the last switch, with what has been recorded since folded into them.

    The live ones are kept in turn: a second call takes the first one back.

    Example: `milepost projections rollback`

    Args:
        output: Lines for people, or one JSON object.
    """
    from milepost.projections.rebuild import rollback

    result = _run(rollback)
    if result is None:
        return INTERRUPTED
    show(result, output)
    return 0


def maintain(*, output: Output = "text") -> None:
    """Make the partitions of the log for this month and the two after it. The processor does so daily.

    Example: `milepost db maintain`

    Args:
        output: A line per partition for people, or one JSON array.
    """
    from milepost.projections.migrate import maintain

    settings = Settings()
    logs.configure_for_commands(settings)
    partitions = asyncio.run(maintain(settings.dsn))
    if output == "text":
        for name, made in partitions:
            print(f"{'made' if made else 'exists':<7} {name}")
    else:
        print(json.dumps([{"partition": name, "made": made} for name, made in partitions]))


def _run(work: "Callable[[str, Report], Coroutine[Any, Any, Result]]") -> "Result | None":
    """The result, or None where a signal came first: then everything is as it was."""
    settings = Settings()
    logs.configure_for_commands(settings)
    with _progress() as report:
        return asyncio.run(until_stopped(work(settings.dsn, report), _say))


@contextmanager
def _progress() -> "Iterator[Report]":
    """A bar on standard error, or a line now and then where that is no terminal."""
    if not sys.stderr.isatty():
        yield _Lines().report
        return
    columns = (
        TextColumn("{task.description}"), BarColumn(),
        TextColumn("{task.completed:,.0f} of about {task.total:,.0f} records, {task.fields[rate]}/s"),
        TimeRemainingColumn(),
    )  # fmt: skip
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("starting", total=0, rate="-")
        began = time.monotonic()

        def report(progress: "Progress") -> None:
            rate = progress.records / (time.monotonic() - began)
            bar.update(
                task,
                description=progress.step, completed=progress.records, total=progress.total,
                rate=f"{rate:,.0f}",
            )  # fmt: skip

        yield report


class _Lines:
    def __init__(self) -> None:
        self._began = self._said = time.monotonic()

    def report(self, progress: "Progress") -> None:
        """Say how far it is, unless that was said a moment ago."""
        now = time.monotonic()
        if now - self._said < _LINE_SECONDS:
            return
        self._said = now
        rate = max(progress.records, 1) / (now - self._began)
        left = (progress.total - progress.records) / rate
        _say(
            f"{progress.step}: {progress.records:,} of about {progress.total:,} records,"
            f" {rate:,.0f}/s, {left:,.0f} s left"
        )


def _say(line: str) -> None:
    print(f"milepost: {line}", file=sys.stderr, flush=True)


def show(result: "Result", output: str) -> None:
    """Print what a rebuild, a comparison or a rollback came to."""
    if output != "text":
        print(json.dumps({**_json(result), "equal": result.equal}))
        return
    for name, value in _facts(result):
        print(f"{name + ':':<14} {value}")


def _json(result: "Result") -> dict[str, Any]:
    named = {
        name: [one._asdict() for one in getattr(result, name)]
        for name in ("differences", "resources")
    }
    return dataclasses.asdict(result) | named


def _facts(result: "Result") -> Iterator[tuple[str, str]]:
    rate = result.records / result.seconds
    yield (
        "folded",
        (
            f"{result.records:,} records of {result.executions:,} executions in {result.seconds:,.1f} s"
            f" ({rate:,.0f}/s)"
        ),
    )
    if result.live_hash is not None:
        same = result.live_hash == result.folded_hash
        yield "live", result.live_hash
        yield "from the log", f"{result.folded_hash} ({'equal' if same else 'different'})"
    if result.differing:
        yield "differing", f"{result.differing:,} executions"
    for one in (*result.differences, *result.resources):
        yield "", f"{one.tenant} {one.execution_id} {one.what}"
    if result.tenants:
        yield "activity", f"counts differ for {', '.join(result.tenants)}"
    if result.carried_over:
        yield (
            "carried over",
            f"{result.carried_over:,} executions whose log is incomplete, as they are",
        )
    if result.quarantined:
        yield "quarantined", f"{result.quarantined:,} records that are events by now; not folded"
    if result.dispositions:
        yield "dispositions", f"{result.dispositions:,} brought up to date in the log"
    if result.generation is not None:
        yield (
            "generation",
            (
                f"{result.generation} is live; `milepost projections rollback` goes back. For the switch"
                f" processors waited {result.processors_waited or 0:.2f} s,"
                f" readers {result.readers_waited or 0:.2f} s"
            ),
        )
