"""Runs everything long, part by part, whatever came of the parts before; ends with the table of faults.

Each part is a pytest of its own. Exit status 1 where any part failed; docs/faults.md, .json and .svg are
written only where none did.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final, NamedTuple

from faults import ambiguous, disk, document, table, upgrade
from faults.kinds import FAULTS
from faults.table import Part

ROOT: Final = Path(__file__).parents[2]
PREFIX: Final = "MILEPOST_TEST_"
SCALE: Final = (
    "CYCLES", "EVENTS", "SOAK_SECONDS", "SOAK_RATE", "UPGRADE_SECONDS", "UPGRADE_RATE", "INPUTS",
    "EXAMPLES", "RUNS", "LIVES", "KILLS",
)  # fmt: skip
SOAK: Final = "soak"


class Long(NamedTuple):
    """A part: what pytest is given, which variables scale it, whether it tells the report."""

    name: str
    arguments: tuple[str, ...]
    scale: tuple[str, ...]
    tells: bool = False


_FAULTS: Final = "tests/faults"
PARTS: Final = (
    Long("faults", (f"{_FAULTS}/test_survived.py",), ("CYCLES", "EVENTS"), tells=True),
    Long("disk", (f"{_FAULTS}/long/test_disk.py",), ("CYCLES", "EVENTS"), tells=True),
    Long("soak", (f"{_FAULTS}/long/test_soak.py",), ("SOAK_SECONDS", "SOAK_RATE"), tells=True),
    Long(
        "upgrade",
        (f"{_FAULTS}/long/test_upgrade.py",),
        ("UPGRADE_SECONDS", "UPGRADE_RATE"),
        tells=True,
    ),
    Long("spoilt records", (f"{_FAULTS}/test_fuzz.py",), ("INPUTS",)),
    Long("lives", (f"{_FAULTS}/test_lives.py",), ("LIVES",)),
    Long(
        "laws of the fold",
        ("tests/projections/test_laws.py", "tests/projections/test_machine.py"),
        ("EXAMPLES", "RUNS"),
    ),
    Long("webhook workers killed", ("tests/webhooks/test_service.py",), ("KILLS",)),
    Long(
        "all tests, commits of unknown outcome",
        (
            "-n",
            "2",
            "--dist",
            "loadfile",
            "--ignore",
            "tests/benchmarks",
            "--ignore",
            "tests/deploy",
        ),
        ("AMBIGUOUS_COMMITS",),
    ),
)


def main() -> int:
    """The exit status."""
    os.environ.setdefault(ambiguous.VARIABLE, "0.1")
    with tempfile.TemporaryDirectory(prefix="milepost-faults-") as folder:
        report = Path(folder) / "report.jsonl"
        report.touch()
        parts = [_run(part, report) for part in PARTS]
        left_out = {fault.name: reason for fault, reason in disk.left_out().items()}
        names = [*(fault.name for fault in (*FAULTS, *disk.DISK)), SOAK, upgrade.NAME]
        told = table.read(report, names, left_out)
    survived = all(part.survived for part in parts) and not told.failed
    if survived:
        document.write(told, parts, ROOT / "docs")
    table.show("Soak", table.SOAK_HEADINGS, table.soak_rows(told.courses))
    table.show("Parts", ("part", "how much", "", "took"), (part.row for part in parts))
    for fault, reason in left_out.items():
        print(f"Left out: {fault}: {reason}.")
    table.show("Faults", table.HEADINGS, told.rows())
    return 0 if survived else 1


def _run(part: Long, report: Path) -> Part:
    """Only its own variables reach it: a second part that knows one of the others has it as usual."""
    mine = {PREFIX + name for name in part.scale}
    others = {PREFIX + name for name in SCALE} | {ambiguous.VARIABLE}
    environment = {name: value for name, value in os.environ.items() if name not in others - mine}
    if part.tells:
        environment[table.REPORT] = str(report)
    scale = ", ".join(
        f"{name.lower().replace('_', ' ')} {environment[PREFIX + name]}"
        for name in part.scale
        if PREFIX + name in environment
    )
    print(f"\n{part.name} ({scale})", flush=True)
    began = time.monotonic()
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "--durations=3", *part.arguments],
        check=False, cwd=ROOT, env=environment,
    )  # fmt: skip
    return Part(part.name, scale, ended.returncode == 0, time.monotonic() - began)


if __name__ == "__main__":
    sys.exit(main())
