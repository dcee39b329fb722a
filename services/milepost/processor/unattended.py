"""What failed when nobody waited for it any more: a line each, where asyncio prints traces.

Kafka's client leaves such behind whenever a connection ends; whoever still waited was told.
"""

import asyncio
from typing import Any, Final

import structlog
from aiokafka.errors import KafkaError

_log: Final = structlog.get_logger(__name__)


def report(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """An exception handler for an event loop."""
    error = context.get("exception")
    log = _log.debug if isinstance(error, KafkaError) else _log.warning
    log("failed_unattended", what=context["message"], error=repr(error))
