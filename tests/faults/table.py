"""What a run came to, as tables: told line by line in a file while it runs, shown when it is over."""

import json
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from rich.console import Console
from rich.table import Table

from faults.flat import Course
from faults.trial import Figures

# The file that is told, where there is one.
REPORT: Final = "MILEPOST_TEST_REPORT"
HEADINGS: Final = (
    "fault", "cycles", "events", "lost", "repeated", "calls repeated", "back after at most",
)  # fmt: skip
SOAK_HEADINGS: Final = ("measure", "first quarter", "last quarter", "growth", "may grow", "")
Row = tuple[str, ...]


class Part(NamedTuple):
    """One of the things that a run consists of: what, how much of it, how it ended, in which time."""

    name: str
    scale: str
    survived: bool
    seconds: float

    @property
    def row(self) -> Row:
        """Its cells."""
        minutes = f"{self.seconds / 60:.0f} min"
        return self.name, self.scale, "survived" if self.survived else "FAILED", minutes


class Told(NamedTuple):
    """What was told of a run, and which faults were to be told of."""

    figures: Sequence[Figures]
    courses: Sequence[Course]
    faults: Collection[str]
    left_out: Mapping[str, str] = {}  # the reason, by the fault

    @property
    def failed(self) -> list[str]:
        """The faults that were not survived, or of which nothing was heard."""
        heard = {one.fault for one in self.figures} | self.left_out.keys()
        return sorted(set(self.faults) - heard)

    def rows(self) -> Iterator[Row]:
        """Every fault, and all together."""
        for figures in sorted(self.figures):
            yield _row(figures)
        for fault in self.failed:
            yield fault, "FAILED", *["-"] * (len(HEADINGS) - 2)
        for fault in sorted(self.left_out):
            yield fault, "left out", *["-"] * (len(HEADINGS) - 2)
        if self.figures:
            yield _row(_all(self.figures))


def tell(what: Figures | Sequence[Course]) -> None:
    """Add it to the report, where there is one."""
    if REPORT in os.environ:
        told: Any = (
            {"figures": what._asdict()}
            if isinstance(what, Figures)
            else {"courses": [one._asdict() for one in what]}
        )
        with Path(os.environ[REPORT]).open("a") as report:
            report.write(json.dumps(told) + "\n")


def read(report: Path, faults: Collection[str], left_out: Mapping[str, str]) -> Told:
    """What was told."""
    lines = [json.loads(line) for line in report.read_text().splitlines()]
    return Told(
        [Figures(**line["figures"]) for line in lines if "figures" in line],
        [Course(**one) for line in lines for one in line.get("courses", ())],
        faults,
        left_out,
    )


def soak_rows(courses: Sequence[Course]) -> Iterator[Row]:
    """A row for each measure."""
    for one in courses:
        numbers = (one.first, one.last, one.growth, one.most)
        yield (
            f"{one.what}, {one.unit}".removesuffix(", "),
            *(f"{number:,.1f}" for number in numbers),
            "flat" if one.is_flat else "GROWS",
        )


def show(title: str, headings: Row, rows: Iterator[Row]) -> None:
    """Print a table."""
    table = Table(*headings, title=title, title_justify="left")
    for row in rows:
        table.add_row(*row)
    # As wide as it must be, where the output goes to a file.
    Console(width=max(Console().width, 120)).print(table)


def _all(figures: Sequence[Figures]) -> Figures:
    return Figures(
        "all",
        sum(figure.cycles for figure in figures),
        sum(figure.events for figure in figures),
        sum(figure.lost for figure in figures),
        sum(figure.repeated for figure in figures),
        sum(figure.calls_repeated for figure in figures),
        max(figure.recovery_seconds for figure in figures),
    )


def _row(figures: Figures) -> Row:
    name, *counts, recovery = figures
    return name, *(f"{count:,}" for count in counts), f"{recovery:.1f} s"
