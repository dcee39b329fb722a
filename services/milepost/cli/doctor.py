"""`milepost doctor`: what is wrong with a stack, and what heals it."""

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Final, Literal

from cyclopts import Parameter

from milepost.cli import logs
from milepost.cli.display import one_line
from milepost.cli.failures import USAGE, Unable
from milepost.settings import Settings

if TYPE_CHECKING:
    from milepost.doctor import Report

UNHEALTHY: Final = 1
_INDENT: Final = 22


def doctor(
    *,
    only: Annotated[list[str] | None, Parameter(consume_multiple=True, negative=())] = None,
    output: Annotated[Literal["text", "json"], Parameter(name=["--output", "-o"])] = "text",
) -> int:
    """Look at the broker, the database and the services, and say what is wrong and what heals it.

    Changes nothing. Ends with 0 where there are no errors, warnings or not; else with 1.

    Example: `milepost doctor --only topics database -o json`

    Args:
        only: Only these checks, and those that they need. A wrong name gives the list of all.
        output: Lines for people, or one JSON object.
    """
    from milepost.doctor import CHECKS, Severity, examine

    if unknown := sorted(set(only or ()) - CHECKS.keys()):
        raise Unable(
            f"--only: there is no check {', '.join(unknown)}. The checks are {', '.join(CHECKS)}.",
            USAGE,
        )
    settings = Settings()
    logs.configure_for_commands(settings)
    report = asyncio.run(examine(settings, only or ()))
    is_healthy = all(
        one.severity != Severity.ERROR for findings in report.values() for one in findings
    )
    if output == "json":
        print(json.dumps({"healthy": is_healthy, "findings": list(_objects(report))}))
    else:
        for line in _lines(report):
            print(line)
    return 0 if is_healthy else UNHEALTHY


def _objects(report: "Report") -> Iterator[dict[str, str | None]]:
    for check, findings in report.items():
        for one in findings:
            shown = {name: value and _safe(value) for name, value in one._asdict().items()}
            yield {"check": check, **shown}


def _lines(report: "Report") -> Iterator[str]:
    """One for what is well; the place and the remedy below what is not."""
    counts: Counter[str] = Counter()
    for check, findings in report.items():
        for one in findings:
            counts[one.severity] += 1
            yield f"{one.severity:<9}{check:<{_INDENT - 9}}{_safe(one.found)}"
            if one.remedy is not None:
                yield f"{'':{_INDENT}}at: {_safe(one.where)}"
                yield f"{'':{_INDENT}}remedy: {_safe(one.remedy)}"
    yield ", ".join(
        f"{counts[severity]} {severity}" for severity in ("ok", "skipped", "warning", "error")
    )


def _safe(text: str) -> str:
    return one_line(logs.without_passwords(text))
