"""Each minute: whether the event log has partitions ahead, and whether records lie outside them."""

import asyncio
from typing import Any, Final

import structlog
from asyncpg import InterfaceError, PostgresError

from milepost.processor import metrics
from milepost.projections.statements import statement

_MINUTE: Final = 60.0

_log: Final = structlog.get_logger(__name__)


async def watch(pool: Any) -> None:
    """Measure until cancelled; a database that does not say is asked again."""
    while True:
        try:
            row = await pool.fetchrow(statement("log_months"))
        except (PostgresError, InterfaceError, OSError, TimeoutError) as error:
            _log.warning("months_not_known", error=repr(error))
        else:
            metrics.MONTHS_AHEAD.set(row["ahead"])
            metrics.DEFAULT_IN_USE.set(row["default_in_use"])
        await asyncio.sleep(_MINUTE)
