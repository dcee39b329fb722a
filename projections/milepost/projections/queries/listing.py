"""A tenant's executions, filtered, a page at a time."""

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from milepost.projections.queries.held import (
    NO_HEARTBEATS,
    Heartbeats,
    Silence,
    heartbeats_json,
)
from milepost.projections.queries.records import Connection
from milepost.projections.statements import statement
from milepost.schemas.values import TERMINAL


class ListedExecution(NamedTuple):
    """One row of a tenant's list, its body still JSON text."""

    execution_id: str
    first_recorded_at: datetime
    body: str
    silence: Silence


class Wanted(NamedTuple):
    """Which of a tenant's executions; None: whatever it is. `link` is (relation, target)."""

    state: str | None = None
    operation: str | None = None
    provider: str | None = None
    silent: bool | None = None
    overdue: bool | None = None
    link: tuple[str, str] | None = None

    @property
    def in_flight(self) -> bool:
        """Whether only executions that are not over can be among them."""
        is_open = self.state is not None and self.state not in TERMINAL
        return bool(is_open or self.silent or self.overdue)


async def executions(
    connection: Connection,
    tenant: str,
    *,
    newest_first: bool,
    after: tuple[datetime, UUID],
    limit: int,
    wanted: Wanted = Wanted(),  # noqa: B008 - immutable
    heartbeats: Heartbeats = NO_HEARTBEATS,
    now: datetime | None = None,
) -> list[ListedExecution]:
    """A tenant's executions beyond the key (first recorded time, id) of the last one seen.

    `heartbeats` and `now`: as for `execution`.
    """
    kind = "linked" if wanted.link else "in_flight" if wanted.in_flight else "executions"
    name = f"{kind}_newest_first" if newest_first else f"{kind}_oldest_first"
    *filters, link = wanted
    rows = await connection.fetch(
        statement(name),
        tenant,
        *after,
        limit,
        heartbeats_json(heartbeats),
        now,
        *filters,
        *(link or ()),
    )
    return [ListedExecution(str(row[0]), row[1], row[2], Silence(row[3], row[4])) for row in rows]
