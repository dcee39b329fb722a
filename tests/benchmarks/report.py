"""What a run of the benchmarks shows: tables on the terminal, `docs/benchmarks.md` and its picture."""

import sys
from collections.abc import Sequence
from html import escape
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.contenders import OURS, Standing

Figures = dict[str, Any]
DOCS = Path(__file__).parents[2] / "docs"
_ROW, _LEFT, _WIDTH = 34, 270, 420


def show(run: Figures, former: Figures | None) -> None:
    """Every figure, beside those of a former run; then who stands where."""
    table = Table("figure", "median", "spread", title="Milepost on this machine, in this run")
    if former:
        table.add_column("former median")
    for name, values in run["figures"].items():
        before = former["figures"].get(name) if former else None
        former_median = [f"{median(before):,.2f}" if before else "-"] if former else []
        table.add_row(name, f"{median(values):,.2f}", spread(values), *former_median)
    console = Console(width=None if sys.stdout.isatty() else 150)
    console.print(run["machine"])
    if former:
        console.print(f"former run: {former['machine']}; of two runs compare ratios only")
    console.print(table)
    if run["standings"]:
        console.print(_standings(run["standings"]))


def _standings(standings: Sequence[Standing]) -> Table:
    table = Table("peer", "semantics", "thousand events/s", "ratio to the limit")
    for one in standings:
        table.add_row(*_cells(one))
    return table


def _cells(one: Standing) -> tuple[str, str, str, str]:
    if not one.rates:
        return one.name, one.semantics, "-", "-"
    rates = [rate / 1e3 for rate in one.rates]
    rate = f"{median(rates):.1f} ({min(rates):.1f} to {max(rates):.1f})"
    return one.name, one.semantics, rate, f"{median(one.ratios):.2f}"


def spread(values: Sequence[float]) -> str:
    """Every run, or the least and the most; of many single values p99, p99.9 and the largest."""
    if len(values) <= 10:
        return " ".join(f"{value:,.2f}" for value in values)
    if len(values) <= 100:
        return f"{min(values):,.2f} to {max(values):,.2f}"
    ordered = sorted(values)
    p99, p999 = (ordered[int(share * len(ordered))] for share in (0.99, 0.999))
    return f"p99 {p99:,.2f}, p99.9 {p999:,.2f}, most {ordered[-1]:,.2f}"


def write(run: Figures) -> None:
    """`docs/benchmarks.md` and `docs/benchmarks.svg`."""
    (DOCS / "benchmarks.svg").write_text(_chart(run["standings"]))
    lines = [
        "# Speed, side by side",
        "",
        "Written by `make bench`. Everybody folds the same backlog of five-event executions from the",
        "same broker into the same Postgres, in turn; the ratios are of runs that followed each other.",
        "Rates of two machines, or of two days, cannot be compared; ratios can.",
        "",
        "![events per second](benchmarks.svg)",
        "",
        *_markdown(
            (
                "peer",
                "semantics",
                "thousand events/s: median (least to most)",
                "ratio to the limit",
            ),
            [_cells(one) for one in run["standings"]],
        ),
        "",
        "The limit writes the rows that Milepost writes. The peers' rows are far smaller (six columns of",
        "history, five of an execution): no headers, no raw bytes, no resources, no completions.",
        "",
        *_figures(run),
    ]
    (DOCS / "benchmarks.md").write_text("\n".join(lines))


def write_scale(run: Figures) -> None:
    """`docs/scale.md`."""
    lines = [
        "# How the cost of an event grows",
        "",
        "Written by `python -m benchmarks --scale`. Workers, broker and database share the machine, so",
        "more workers take from each other what they fold faster: what carries over to larger machines",
        "is the CPU that an event costs, in a worker's process alone.",
        "",
        *_figures(run),
    ]
    (DOCS / "scale.md").write_text("\n".join(lines))


def _figures(run: Figures) -> list[str]:
    rows = [
        (name, f"{median(values):,.2f}", spread(values)) for name, values in run["figures"].items()
    ]
    machine = ", ".join(f"{name} {value}" for name, value in run["machine"].items())
    head = ("figure", "median", "spread")
    return [*_markdown(head, rows), "", f"Machine and run: {machine}.", ""]


def _markdown(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    lines = [head, ("---",) * len(head), *rows]
    return [f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines]


def _chart(standings: Sequence[Standing]) -> str:
    """A bar for each, as long as its median rate; ours stands out."""
    known = [one for one in standings if one.rates]
    most = max(median(one.rates) for one in known)
    height = _ROW * len(known) + 10
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_LEFT + _WIDTH + 150} {height}">',
        "<style>text { font: 14px sans-serif }</style>",
        '<rect width="100%" height="100%" fill="#fff"/>',
    ]
    for number, one in enumerate(known):
        y, rate = number * _ROW + 8, median(one.rates)
        length = round(rate / most * _WIDTH)
        colour = "#1a6e5a" if one.name == OURS else "#9fb3ad"
        label = f"{rate / 1e3:.1f} thousand/s ({median(one.ratios):.2f})"
        parts += [
            f'<text x="{_LEFT - 8}" y="{y + 17}" text-anchor="end">{escape(one.name)}</text>',
            f'<rect x="{_LEFT}" y="{y}" width="{length}" height="24" fill="{colour}"/>',
            f'<text x="{_LEFT + length + 6}" y="{y + 17}">{label}</text>',
        ]
    return "\n".join([*parts, "</svg>", ""])
