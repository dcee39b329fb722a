"""What a check finds."""

from datetime import timedelta
from enum import StrEnum
from typing import NamedTuple


class Severity(StrEnum):
    """How bad it is. A check is skipped where it cannot look, or where there is nothing to look at."""

    OK = "ok"
    SKIPPED = "skipped"
    WARNING = "warning"
    ERROR = "error"


class Finding(NamedTuple):
    """What was found, where, and what heals it: a command, where one does; None where nothing is wrong."""

    severity: Severity
    found: str
    where: str
    remedy: str | None = None


class CannotLook(Exception):
    """A check cannot run, or has nothing to look at; the text says why."""


def ok(found: str, where: str) -> Finding:
    """Nothing is wrong."""
    return Finding(Severity.OK, found, where)


def skipped(why: str, where: str) -> Finding:
    """Nobody looked."""
    return Finding(Severity.SKIPPED, why, where)


def warning(found: str, where: str, remedy: str) -> Finding:
    """It works, and somebody should see to it."""
    return Finding(Severity.WARNING, found, where, remedy)


def error(found: str, where: str, remedy: str) -> Finding:
    """It does not work."""
    return Finding(Severity.ERROR, found, where, remedy)


def span(duration: timedelta) -> str:
    """A duration for people, to the second: `1:02:03`."""
    return str(timedelta(seconds=round(duration.total_seconds())))
