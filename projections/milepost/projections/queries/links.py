"""How executions relate to each other."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from milepost.projections.queries.records import Connection
from milepost.projections.statements import statement


class LinkedExecution(NamedTuple):
    """The execution at the other end of a link; all but its id None where it is not known."""

    relation: str
    execution_id: UUID
    first_recorded_at: datetime | None
    operation: str | None
    state: str | None


# (first recorded time, execution id, relation)
LinkKey = tuple[datetime, UUID, str]


async def linked_states(
    connection: Connection, tenant: str, links: Sequence[tuple[str, str]]
) -> list[LinkedExecution]:
    """How the executions that one names in its links (relation, execution id) stand."""
    relations, ids = [relation for relation, _ in links], [target for _, target in links]
    rows = await connection.fetch(statement("linked_states"), tenant, relations, ids)
    return [LinkedExecution(*row) for row in rows]


async def linking_executions(
    connection: Connection, tenant: str, execution_id: str, *, after: LinkKey, limit: int
) -> list[LinkedExecution]:
    """The executions that name this one in a link, beyond the key of the last one seen."""
    rows = await connection.fetch(
        statement("linking_executions"), tenant, execution_id, *after, limit
    )
    return [LinkedExecution(*row) for row in rows]
