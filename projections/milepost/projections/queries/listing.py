"""A tenant's executions, filtered, a page at a time."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

import orjson

from milepost.projections.queries.held import (
    NO_HEARTBEATS,
    Heartbeats,
    Silence,
    heartbeats_json,
)
from milepost.projections.queries.records import Connection
from milepost.projections.statements import statement
from milepost.schemas.values import EARLIEST, LATEST, TERMINAL

# At most so many executions are looked at for one page, so that filters which fit few of them take no
# longer than others. Measured with a million: the slowest filters take about 20 ms for so many.
EXAMINED: Final = 2_000

# (first recorded time, execution id)
ListingKey = tuple[datetime, UUID]
_FIRST: Final = UUID(int=0)
_LAST: Final = UUID(int=2**128 - 1)
_MICROSECOND: Final = timedelta(microseconds=1)


class ListedExecution(NamedTuple):
    """One row of a tenant's list, its body still JSON text."""

    execution_id: str
    body: str
    silence: Silence


class Listed(NamedTuple):
    """A page, and the key after which the next one begins; None where there is no more.

    There can be more after a page that is not full, even after an empty one; and there can be no more
    after one whose bodies fill it.
    """

    items: list[ListedExecution]
    next_key: ListingKey | None


class Wanted(NamedTuple):
    """Which of a tenant's executions; None: whatever it is.

    Times are from, and before. `ids` are the first and the last. `link` is (relation, target).
    """

    first_recorded_since: datetime = EARLIEST
    first_recorded_before: datetime = LATEST
    state: str | None = None
    operation: str | None = None
    provider: str | None = None
    labels: Mapping[str, str] | None = None
    ended_since: datetime | None = None
    ended_before: datetime | None = None
    ids: tuple[UUID, UUID] | None = None
    silent: bool | None = None
    overdue: bool | None = None
    conflicting: bool | None = None
    link: tuple[str, str] | None = None

    @property
    def candidates(self) -> str:
        """Among which of the executions all of them are: the smallest of the files in `sql/listed`."""
        if self.link:
            return "linked"
        if self.ids:
            return "named"
        is_open = self.state is not None and self.state not in TERMINAL
        return "in_flight" if is_open or self.silent or self.overdue else "all"

    def begin(self, *, newest_first: bool, after: ListingKey | None) -> ListingKey:
        """The key after which to look: the index is entered there, and nowhere else."""
        if newest_first:
            key = (self.first_recorded_before, _FIRST)
            return min(key, after or key)
        # The one just before: whoever was recorded at that time is wanted.
        key = (self.first_recorded_since - _MICROSECOND, _LAST)
        return max(key, after or key)


def _name(candidates: str, newest_first: bool) -> str:
    return f"{candidates}, {'newest' if newest_first else 'oldest'} first"


def _page(candidates: str, newest_first: bool) -> str:
    return statement("listed/page").format(
        candidates=statement(f"listed/{candidates}"),
        beyond="<" if newest_first else ">",
        direction="DESC" if newest_first else "ASC",
    )


# Every such statement, by name.
PAGES: Final = {
    _name(candidates, newest_first): _page(candidates, newest_first)
    for candidates in ("all", "in_flight", "named", "linked")
    for newest_first in (False, True)
}


async def executions(
    connection: Connection,
    tenant: str,
    *,
    newest_first: bool,
    after: ListingKey | None,
    limit: int,
    wanted: Wanted = Wanted(),  # noqa: B008 - immutable
    heartbeats: Heartbeats = NO_HEARTBEATS,
    now: datetime | None = None,
) -> Listed:
    """A tenant's executions beyond the key of the last one seen, None for the first page.

    `heartbeats` and `now`: as for `execution`.
    """
    rows = await connection.fetch(
        PAGES[_name(wanted.candidates, newest_first)],
        tenant,
        *wanted.begin(newest_first=newest_first, after=after),
        limit + 1,
        EXAMINED,
        heartbeats_json(heartbeats),
        now,
        wanted.first_recorded_since,
        wanted.first_recorded_before,
        wanted.state,
        wanted.operation,
        wanted.provider,
        None if wanted.labels is None else orjson.dumps(wanted.labels).decode(),
        wanted.ended_since,
        wanted.ended_before,
        *(wanted.ids or (None, None)),
        wanted.silent,
        wanted.overdue,
        wanted.conflicting,
        *(wanted.link or ()),
    )
    seen = rows[:limit]
    more = len(rows) > limit or (seen and (seen[-1]["place"] == EXAMINED or seen[-1]["filled"]))
    return Listed(
        [
            ListedExecution(
                str(row["execution_id"]),
                row["body"],
                Silence(row["silent_since"], row["overdue_since"]),
            )
            for row in seen
            if row["fits"]
        ],
        (seen[-1]["first_recorded_at"], seen[-1]["execution_id"]) if more else None,
    )
