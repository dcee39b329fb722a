"""The commands that look after the database: projections rebuilt, compared and taken back; months of
the log made and archived."""

import asyncio
import dataclasses
import gc
import json
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import App, Parameter, validators
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from milepost.cli import logs
from milepost.cli.display import Output
from milepost.cli.failures import USAGE, Unable
from milepost.cli.signals import until_stopped
from milepost.settings import Settings

if TYPE_CHECKING:
    from milepost.projections.rebuild import Progress, Report, Result
    from milepost.projections.retention import Outcome

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


def maintain(
    *,
    archive: Path | None = None,
    keep_months: Annotated[int | None, Parameter(validator=validators.Number(gte=1))] = None,
    dry_run: Annotated[bool, Parameter(negative=())] = False,
    output: Output = "text",
) -> int:
    """Make the partitions of the log for this month and the two after it (the processor does so daily),
    and archive months that are over.

    A month is archived when all its executions are, nobody's hold is on it, and it is old enough: its
    records go to a file that is read back, and then it leaves the log. Run again after an interruption.

    Example: `milepost db maintain --archive /srv/milepost --keep-months 24`

    Args:
        archive: The folder for the files of the months that are archived.
        keep_months: So many whole months before this one stay in the log in any case.
        dry_run: Only say which months would be archived and which would stay, and why.
        output: A line per partition for people, or one JSON array.
    """
    from milepost.projections.migrate import maintain

    if (keep_months is None) != (archive is None and not dry_run):
        raise Unable(
            "to archive months takes both --archive DIR and --keep-months N (with --dry-run only the"
            " latter)",
            USAGE,
        )
    if archive is not None and not archive.is_dir():
        raise Unable(f"--archive {archive}: there is no such folder; make it, or mount it", USAGE)
    settings = Settings()
    logs.configure_for_commands(settings)
    made = asyncio.run(maintain(settings.dsn))
    months: list[Outcome] | None = []
    if keep_months is not None:
        months = _archived(settings.dsn, None if dry_run else archive, keep_months)
    if output == "text":
        for name, is_made in made:
            print(f"{'made' if is_made else 'exists':<8} {name}")
        for month in months or ():
            print(_outcome(month, dry_run=dry_run))
    else:
        partitions = [{"partition": name, "made": is_made} for name, is_made in made]
        print(json.dumps(partitions + [dataclasses.asdict(month) for month in months or ()]))
    return INTERRUPTED if months is None else 0


def _archived(dsn: str, folder: Path | None, keep_months: int) -> "list[Outcome] | None":
    """What became of the old months, or None where a signal came first."""
    from milepost.projections.retention import archive_months

    with progress() as report:
        work = archive_months(dsn, folder, keep_months, datetime.now(UTC), report)
        return asyncio.run(until_stopped(work, say))


def _outcome(month: "Outcome", *, dry_run: bool) -> str:
    if month.archived:
        dropped = (
            "; `milepost projections rollback` has nothing to go back to any more"
            if month.previous_dropped
            else ""
        )
        return f"archived {month.partition}: {month.records:,} records in {month.file}{dropped}"
    if month.reason is None and dry_run:
        return f"would go {month.partition}"
    return f"stays    {month.partition}: {month.reason}"


def _run(work: "Callable[[str, Report], Coroutine[Any, Any, Result]]") -> "Result | None":
    """The result, or None where a signal came first: then everything is as it was."""
    settings = Settings()
    logs.configure_for_commands(settings)
    with progress() as report:
        return asyncio.run(until_stopped(work(settings.dsn, report), say))


@contextmanager
def progress() -> "Iterator[Report]":
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
        say(
            f"{progress.step}: {progress.records:,} of about {progress.total:,} records,"
            f" {rate:,.0f}/s, {left:,.0f} s left"
        )


def say(line: str) -> None:
    """Tell people something beside the output."""
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
            f"{result.carried_over:,} executions whose log is incomplete or archived, as they are",
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
