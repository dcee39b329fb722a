"""Legal holds: tenants whose history stays in the database until the hold is released."""

from datetime import datetime
from typing import NamedTuple
from uuid import uuid4

from milepost.projections.queries import Connection
from milepost.projections.queries.access import Audited, note_audited
from milepost.projections.statements import statement


class Hold(NamedTuple):
    """A hold; `released_at` is None while it is in force."""

    tenant: str
    reason: str
    placed_at: datetime
    placed_by: str
    released_at: datetime | None
    released_by: str | None


async def hold(connection: Connection, tenant: str, reason: str, now: datetime, by: str) -> bool:
    """Place a hold; False where this tenant has one for this reason. Raises what asyncpg does."""
    return await _change(connection, "retention/hold", "hold", tenant, reason, now, by)


async def release(connection: Connection, tenant: str, reason: str, now: datetime, by: str) -> bool:
    """Release a hold; False where there is none for this reason. Raises what asyncpg does."""
    return await _change(connection, "retention/release", "release", tenant, reason, now, by)


async def holds(connection: Connection) -> list[Hold]:
    """Every hold there has been, those in force first. Raises what asyncpg does."""
    return [Hold(*row) for row in await connection.fetch(statement("retention/holds"))]


async def _change(
    connection: Connection,
    name: str,
    action: str,
    tenant: str,
    reason: str,
    now: datetime,
    by: str,
) -> bool:
    async with connection.transaction():
        changed = await connection.execute(statement(name), tenant, reason, now, by)
        if changed.endswith(" 0"):
            return False
        await note(connection, tenant, f"legal hold: {action}", reason, now, by)
    return True


async def note(
    connection: Connection, tenant: str, action: str, target: str, now: datetime, by: str
) -> None:
    """Keep a deed of the command line in the audit: it came by no HTTP request."""
    row = Audited(now, uuid4(), tenant, by, action, target, 200, "", "", 0)
    await note_audited(connection, [row])
