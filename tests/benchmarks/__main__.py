"""Runs the benchmarks and prints one table; `--json FILE` keeps the figures."""

import argparse
import asyncio
import json
import os
import platform
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import backlog, latency, rebuild, relay, startup
from benchmarks.stack import running

EXAMPLE = "example: python -m benchmarks --executions 20000 --runs 3 --json bench.json"


def main() -> None:
    """Parse the command line and run everything."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__, epilog=EXAMPLE)
    parser.add_argument("--executions", type=int, default=20_000, help="backlog, five events each")
    parser.add_argument("--runs", type=int, default=3, help="runs of each measurement")
    parser.add_argument("--json", type=Path, help="write the figures here")
    arguments = parser.parse_args()
    figures = asyncio.run(_measure(arguments.executions, arguments.runs))
    _show(figures)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


async def _measure(executions: int, runs: int) -> dict[str, Any]:
    with _folder() as folder:
        figures: dict[str, Any] = {"machine": _machine()}
        async with running(folder) as stack:
            figures["backlog"] = await backlog.measure(stack, executions, runs)
            figures["relay"] = await relay.measure(stack, executions, runs)
            figures["rebuild"] = await rebuild.measure(stack, executions, runs)
            figures["latency"] = await latency.measure(stack)
        figures["startup"] = await startup.measure(runs)
    return figures


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="milepost-bench-") as name:
        yield Path(name)


def _machine() -> dict[str, Any]:
    packages = ("faust-streaming", "aiokafka", "asyncpg", "pydantic")
    return {
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 2),
        **{package: version(package) for package in packages},
    }


def _show(figures: dict[str, Any]) -> None:
    table = Table("figure", "median", "spread", title="Milepost on this machine, in this run")
    for section in ("backlog", "relay", "rebuild", "latency", "startup"):
        for name, values in figures[section].items():
            table.add_row(name, f"{median(values):,.2f}", _spread(sorted(values)))
    console = Console(width=None if sys.stdout.isatty() else 110)
    console.print(figures["machine"])
    console.print(table)


def _spread(ordered: list[float]) -> str:
    """Every run; of many single values p99, p99.9 and the largest."""
    if len(ordered) <= 10:
        return " ".join(f"{value:,.2f}" for value in ordered)
    p99, p999 = (ordered[int(share * len(ordered))] for share in (0.99, 0.999))
    return f"p99 {p99:,.2f}, p99.9 {p999:,.2f}, most {ordered[-1]:,.2f}"


if __name__ == "__main__":
    main()
