"""What failed when nobody waited for it any more: a line each, where asyncio prints traces.

Clients leave such behind when a connection ends; whoever still waited was told.
"""

import asyncio
from typing import Any, Final

import structlog

_log: Final = structlog.get_logger(__name__)


def report(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """An exception handler for an event loop."""
    _log.warning("failed_unattended", what=context["message"], error=repr(context.get("exception")))
