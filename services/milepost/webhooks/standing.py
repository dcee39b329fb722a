"""Each quarter of a minute: what is owed to endpoints, and whether the database says so."""

import asyncio
from typing import Final

import structlog

from milepost.monitoring import Checks
from milepost.projections import webhooks
from milepost.projections.listening import LOST
from milepost.projections.webhooks import Pool
from milepost.webhooks import metrics

_SECONDS: Final = 15.0

_log: Final = structlog.get_logger(__name__)


async def watch(pool: Pool, checks: Checks) -> None:
    """Measure until cancelled; `checks` hears of the `database`."""
    while True:
        try:
            metrics.stands(await webhooks.standing(pool))
        except LOST as error:
            _log.warning("deliveries_not_counted", error=repr(error))
            checks.report("database", "the database is away")
        else:
            checks.report("database", None)
        await asyncio.sleep(_SECONDS)
