"""Logging, set up in one place: structured lines on standard error, no secrets in them."""

import logging
import re
import sys
from typing import Any, Final

import structlog
from structlog.typing import EventDict, Processor

from milepost import tracing
from milepost.settings import Settings

_LIBRARIES: Final = (
    *(
        "aiokafka",
        "asyncio",
        "faust",
        "httpcore2",
        "httpx2",
        "mode",
        "opentelemetry",
        "sse_starlette",
        "urllib3",
        "uvicorn",
    ),
    "milepost.projections.migrate",  # where pogo logs every step as a warning
)
_PASSWORD: Final = re.compile(r"(\w://[^:/?#\s@]*:)[^/\s]+@")


def configure(settings: Settings, *, libraries: int = logging.WARNING) -> None:
    """Send what Milepost and its libraries log to standard error, as the settings ask.

    `libraries` is the least level of the latter: what they say below is about their own workings.
    """
    level = getattr(logging, settings.log_level.upper())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        _with_ids,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _without_passwords,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared if level <= logging.DEBUG else [_without_trace, *shared],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _renderer(settings.log_format),
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=level, force=True)
    for library in _LIBRARIES:
        logging.getLogger(library).setLevel(max(level, libraries))


def configure_for_commands(settings: Settings) -> None:
    """As `configure`, for a command that ends with a sentence about what went wrong.

    What a library logs on the way there, such as each failed attempt to connect, would repeat it.
    """
    configure(settings, libraries=logging.CRITICAL)


def _renderer(log_format: str) -> Any:
    if log_format == "json":
        return structlog.processors.JSONRenderer(default=str)
    return structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=0)


def _with_ids(logger: Any, method: str, event: EventDict) -> EventDict:
    return {**event, **tracing.ids()}


def _without_trace(logger: Any, method: str, event: EventDict) -> EventDict:
    # Of a library: what matters of it, we tell in a line of our own; here, what it was.
    _, error, _ = event.pop("exc_info", None) or (None, None, None)
    return event if error is None else {**event, "error": repr(error)}


def without_passwords(text: str) -> str:
    """`text` with the passwords in URLs left out."""
    return _PASSWORD.sub(r"\1***@", text) if "://" in text else text


def _without_passwords(logger: Any, method: str, event: EventDict) -> EventDict:
    # They stand in URLs only, and no line needs them.
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = without_passwords(value)
    return event
