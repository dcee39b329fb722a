"""The log lines of an execution, as the API has them."""

import asyncio
import logging
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any, Final

from pydantic import BaseModel

from milepost.client.calls import Calls, quoted
from milepost.client.errors import ApiUnavailable
from milepost.schemas.notifications import OPEN
from milepost.schemas.values import TERMINAL, Level, State

# One request of a long poll.
_POLL_SECONDS: Final = 30
_RETRY_SECONDS: Final = 0.5
_log: Final = logging.getLogger(__name__)


class LogEntry(BaseModel):
    """One line of an execution's log, and the record that brought it."""

    model_config = OPEN
    message: str
    level: Level = Level.INFO
    stream: str | None = None
    occurred_at: datetime | None = None
    event_id: str | None = None
    partition: int | None = None
    offset: int | None = None


class _Page(BaseModel):
    model_config = OPEN
    items: list[LogEntry]
    state: State
    next_page_token: str | None = None
    follow_token: str | None = None
    archived: dict[str, Any] | None = None


async def log_lines(
    calls: Calls,
    execution_id: str,
    tenant: str | None,
    level: Level,
    tail: int | None,
    *,
    follow: bool,
) -> AsyncIterator[LogEntry]:
    """See `MilepostClient.logs`."""
    path = f"/executions/{quoted(execution_id)}/logs"
    query: dict[str, Any] = {"tenant": tenant, "level": level.value, "tail": tail}
    while True:
        held = _POLL_SECONDS if "wait" in query else 0
        try:
            page = await calls.get(_Page, path, query, held=held)
        except ApiUnavailable:
            if not held:
                raise
            await asyncio.sleep(_RETRY_SECONDS)
            continue
        if page.archived is not None and "page_token" not in query:
            # What comes is not all of it, and may be nothing.
            _log.warning(
                "%s records of %s, and the lines in them, are archived: %s",
                *(page.archived["records"], execution_id, page.archived["months"]),
            )
        for entry in page.items:
            yield entry
        query |= {"tail": None, "page_token": page.follow_token}
        if page.next_page_token is None:
            if not follow or page.state in TERMINAL:
                return
            query["wait"] = f"{_POLL_SECONDS}s"
