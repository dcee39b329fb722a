"""What the demo does: real commands, and how each execution should end."""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from milepost.client import Execution, State

ACME: Final = "acme"
GLOBEX: Final = "globex"
# Why the demo calls an execution off.
REASON: Final = "no longer needed"

_VIRTUALENV: Final = """
import json, os, subprocess, sys
folder = sys.argv[1]
print("[1/2] creating a virtual environment", flush=True)
subprocess.run([sys.executable, "-m", "venv", folder], check=True)
print("[2/2] asking its Python for the version", flush=True)
subprocess.run([folder + "/bin/python", "--version"], check=True)
with open(os.environ["MILEPOST_RESOURCES"], "a") as resources:
    resources.write(json.dumps({"kind": "virtualenv", "id": folder}) + "\\n")
"""
_LONG: Final = """
import time
for percent in range(0, 100):
    print(f"{percent} % copied", flush=True)
    time.sleep(0.6)
"""
_MEET: Final = """
import pathlib, sys, time
mine, other = map(pathlib.Path, sys.argv[1:])
mine.touch()
print("waiting for the other one", flush=True)
deadline = time.monotonic() + 60
while not other.exists():
    if time.monotonic() > deadline:
        sys.exit("the other one did not run at the same time")
    time.sleep(0.05)
print("both run at once", flush=True)
"""
_APPEND: Final = """
import sys, time
with open(sys.argv[1], "a") as ledger:
    ledger.write("ran\\n")
print("wrote a line", flush=True)
time.sleep(1)
"""


@dataclass(frozen=True)
class Operation:
    """One execution to bring about, by `calls` calls, and how it should end.

    `check` looks at what the API says and at the machine; it returns what differs, or None.
    """

    title: str
    tenant: str
    operation: str
    command: list[str]
    state: State = State.SUCCEEDED
    exit_code: int = 0
    key: str | None = None
    calls: int = 1
    cancel: bool = False
    check: Callable[[Execution], str | None] = field(default=lambda execution: None)


def operations(folder: Path) -> list[Operation]:
    """The demo's operations; what they make is under `folder`."""
    virtualenv, ledger, blocked = folder / "environment", folder / "ledger.txt", folder / "file"
    blocked.touch()
    return [
        Operation(
            "a virtual environment",
            ACME,
            "provision",
            _python(_VIRTUALENV, virtualenv),
            check=lambda execution: _made(execution, virtualenv),
        ),
        Operation(
            "one that fails",
            GLOBEX,
            "provision",
            [sys.executable, "-m", "venv", str(blocked / "environment")],
            state=State.FAILED,
            exit_code=1,
            check=_explained,
        ),
        Operation(
            "one that is cancelled",
            GLOBEX,
            "update",
            _python(_LONG),
            state=State.CANCELLED,
            exit_code=130,
            cancel=True,
            check=_cancelled,
        ),
        Operation("at once, first", ACME, "update", _meet(folder, "first", "second")),
        Operation("at once, second", ACME, "update", _meet(folder, "second", "first")),
        Operation(
            "the same key, three calls",
            ACME,
            "deprovision",
            _python(_APPEND, ledger),
            key="ticket-4711",
            calls=3,
            check=lambda execution: _once(ledger),
        ),
    ]


def _python(program: str, *arguments: Path) -> list[str]:
    return [sys.executable, "-c", program, *map(str, arguments)]


def _meet(folder: Path, mine: str, other: str) -> list[str]:
    return _python(_MEET, folder / mine, folder / other)


def _made(execution: Execution, folder: Path) -> str | None:
    if ("virtualenv", str(folder)) not in {(one.kind, one.id) for one in execution.resources}:
        return f"{folder} is not among its resources"
    if not ((folder / "pyvenv.cfg").is_file() and (folder / "bin" / "python").exists()):
        return f"{folder} is no virtual environment"
    return None


def _explained(execution: Execution) -> str | None:
    failure = execution.failure
    if failure is None or not failure.last_lines or (failure.details or {}).get("exit_code") != 1:
        return "its failure lacks the exit code or the last lines"
    return None


def _cancelled(execution: Execution) -> str | None:
    if execution.cancellation is None or execution.cancellation.reason != REASON:
        return "the reason of its cancellation is missing"
    process = next((one for one in execution.resources if one.kind == "process"), None)
    if process is None or not process.released:
        return "its process is not shown as gone"
    if _runs(process.id.rpartition("/")[2]):
        return f"its process {process.id} still runs"
    return None


def _runs(process: str) -> bool:
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    return True


def _once(ledger: Path) -> str | None:
    lines = len(ledger.read_text().splitlines()) if ledger.exists() else 0
    return None if lines == 1 else f"its command ran {lines} times"
