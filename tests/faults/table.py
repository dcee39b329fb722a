"""The figures of a run, for people and for machines."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from faults.trial import RECOVERY, Figures

_HEADINGS: Final = (
    "fault", "cycles", "events", "lost", "repeated", "calls repeated", "back after at most",
)  # fmt: skip
_TEXT: Final = f"""\
# Faults survived

Written by `make test-faults`: two processors, the API and the webhook worker, each supervised, on one
Kafka broker and one Postgres. A fault comes when a fifth of what was sent before it is folded, and as
much is sent while it lasts. Afterwards everything Milepost holds and has sent is compared with what
`tests/oracle.py` makes of the topic's records.

- **lost**: events, completions and commands that are missing.
- **repeated**: events folded twice; completions and commands that a `read_committed` consumer heard twice.
- **calls repeated**: webhook calls under an id that was called before, which receivers drop; webhooks are
  sent at least once.
- **back after at most**: seconds from the end of a fault until nothing waited to be folded or sent; more
  than {RECOVERY:.0f} fails the run.

"""


def show(figures: Sequence[Figures]) -> None:
    """Print the table."""
    table = Table(*_HEADINGS)
    for row in _rows(figures):
        table.add_row(*row)
    Console().print(table)


def write(figures: Sequence[Figures], folder: Path) -> None:
    """Keep the figures as `faults.md` and `faults.json`."""
    lines = [_HEADINGS, ("---", *["---:"] * (len(_HEADINGS) - 1)), *_rows(figures)]
    table = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    (folder / "faults.md").write_text(_TEXT + table)
    rows = [figure._asdict() for figure in sorted(figures)]
    (folder / "faults.json").write_text(json.dumps(rows, indent=2) + "\n")


def _rows(figures: Sequence[Figures]) -> Iterator[tuple[str, ...]]:
    all_of_them = Figures(
        "all",
        sum(figure.cycles for figure in figures),
        sum(figure.events for figure in figures),
        sum(figure.lost for figure in figures),
        sum(figure.repeated for figure in figures),
        sum(figure.calls_repeated for figure in figures),
        max(figure.recovery_seconds for figure in figures),
    )
    for figure in [*sorted(figures), all_of_them]:
        name, *counts, recovery = figure
        yield name, *(f"{count:,}" for count in counts), f"{recovery:.1f} s"
