"""What every part of this room raises and reports."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str], None]


class EmbeddedError(Exception):
    """An embedded service cannot do what was asked; the message says what, where and the remedy.

    Meant to be printed as it is, without a stack trace.
    """


def silent(message: str) -> None:
    """The progress callback that shows nothing."""
