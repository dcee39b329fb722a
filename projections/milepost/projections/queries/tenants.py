"""What a tenant has, in counts."""

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from milepost.projections.queries.records import Connection
from milepost.projections.statements import statement


class Summary(NamedTuple):
    """A tenant's executions by state, and the last one to succeed and to fail."""

    pending: int
    running: int
    succeeded: int
    failed: int
    cancelled: int
    last_success_at: datetime | None
    last_success: UUID | None
    last_failure_at: datetime | None
    last_failure: UUID | None
    last_failure_code: str | None
    last_failure_message: str | None


async def tenant_summary(connection: Connection, tenant: str) -> Summary:
    """A tenant's counts; all zero where nothing is known of it."""
    [row] = await connection.fetch(statement("tenant_summary"), tenant)
    return Summary(*row)


async def resources_in_use(connection: Connection, tenant: str) -> int:
    """How many resources a tenant has now."""
    count: int = await connection.fetchval(statement("resources_in_use"), tenant)
    return count
