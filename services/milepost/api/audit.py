"""Who wrote what, and who was refused."""

from collections.abc import Callable, Iterable
from datetime import datetime
from functools import partial
from typing import Final, NamedTuple
from uuid import uuid4

import structlog

from milepost.api.access import EVERY_TENANT
from milepost.api.database import Database
from milepost.api.problems import Problem
from milepost.api.rates import Rates
from milepost.projections.queries.access import Audited, note_audited

# Refusals that are noted: at once and each second, of one caller and of all in this process. At most
# 20 MB a day; the others are counted.
_CALLER_BURST: Final = 10
_CALLER_RATE: Final = 0.1
_ALL_BURST: Final = 100
_ALL_RATE: Final = 1.0
_TARGET: Final = 500
_log: Final = structlog.get_logger(__name__)


class Deed(NamedTuple):
    """What a request was about."""

    principal: str
    action: str
    target: str
    status: int
    address: str
    request_id: str


class Audit:
    """Notes deeds in the database. `now` and `clock` as for `create_app`."""

    def __init__(
        self, database: Database, now: Callable[[], datetime], clock: Callable[[], float]
    ) -> None:
        self._database = database
        self._now = now
        self._callers = Rates(_CALLER_RATE, _CALLER_BURST, clock)
        self._all = Rates(_ALL_RATE, _ALL_BURST, clock)
        self._left_out = 0

    async def note(self, deed: Deed, tenants: Iterable[str] = ()) -> None:
        """Note what was done, for each of these tenants; the answer waits for it.

        Without the database nothing can be noted: the log has it then.
        """
        left_out, self._left_out = self._left_out, 0
        facts = deed._replace(target=deed.target[:_TARGET])
        rows = [
            Audited(self._now(), uuid4(), tenant, *facts, left_out) for tenant in tenants or (None,)
        ]
        try:
            await self._database.repeated_for(EVERY_TENANT, partial(note_audited, rows=rows))
        except Problem as problem:
            self._left_out += left_out
            _log.error("not_audited", why=problem.detail, **facts._asdict())

    async def note_refusal(self, deed: Deed, tenants: Iterable[str] = ()) -> None:
        """As `note`, but no more than some: whoever is refused must not fill the disk."""
        if self._callers.take(f"{deed.principal} {deed.address}") or self._all.take(""):
            self._left_out += 1
        else:
            await self.note(deed, tenants)
