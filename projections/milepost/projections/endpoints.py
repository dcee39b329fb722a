"""Webhooks as their tenants manage them: endpoints, their secrets, and what was sent to them.

Every function works on the connection it is given, which decides what is visible (row-level security
by `milepost.tenant`). Those that change something want a transaction around them, and the endpoint
held in it (`hold`), so that nobody disables or deletes it meanwhile. Times are aware datetimes. All
raise asyncpg.PostgresError, OSError or TimeoutError where the database does.
"""

from collections.abc import Collection
from datetime import datetime
from typing import Final, Literal, NamedTuple
from uuid import UUID

from milepost.projections.queries import Connection
from milepost.projections.statements import statement
from milepost.schemas.webhooks import TEST_TYPE

Status = Literal["pending", "delivered", "failed", "cancelled"]
# (when it was created, its id), of an endpoint or of a delivery
Key = tuple[datetime, UUID]

# Why an endpoint is disabled: its tenant asked for it.
ASKED: Final = "asked"


class Endpoint(NamedTuple):
    """An endpoint of a tenant's: where its completions go, and which of them.

    `operations` None: all. `disabled_at` None: enabled; else `disabled_reason` is asked, gone (it
    answered 410) or failing. `failing_since`: nothing has arrived since; None once something has.
    """

    endpoint_id: UUID
    url: str
    description: str | None
    states: list[str]
    operations: list[str] | None
    created_at: datetime
    updated_at: datetime
    disabled_at: datetime | None = None
    disabled_reason: str | None = None
    failing_since: datetime | None = None


class SealedSecret(NamedTuple):
    """A signing secret as it is stored; the newest one of an endpoint has no `expires_at`."""

    sealed: bytes
    created_at: datetime
    expires_at: datetime | None


class Delivery(NamedTuple):
    """One message for one endpoint, and how its last attempt went (None before the first one).

    `attempts` are those since it was created or last redelivered, `due_at` is the time of the next
    one. `execution_id` is None where the message is not about an execution.
    """

    delivery_id: UUID
    endpoint_id: UUID
    message_id: str
    type: str
    execution_id: UUID | None
    status: Status
    attempts: int
    created_at: datetime
    due_at: datetime | None
    ended_at: datetime | None
    attempted_at: datetime | None
    status_code: int | None
    error: str | None


class Attempt(NamedTuple):
    """One attempt to send: the answer's status and the beginning of its body, or why there was none."""

    attempted_at: datetime
    duration_seconds: float
    status_code: int | None
    error: str | None
    answer: str | None


class Wanted(NamedTuple):
    """Which deliveries: created from `since` on and earlier than `before`; None: whatever it is."""

    since: datetime
    before: datetime
    status: Status | None = None
    endpoint_id: UUID | None = None
    execution_id: UUID | None = None


async def create(connection: Connection, tenant: str, new: Endpoint, *, most: int) -> bool:
    """Add an endpoint; False where the tenant has `most` already."""
    await connection.execute(statement("endpoints/lock_tenant"), tenant)
    created = await connection.fetchval(
        statement("endpoints/create"),
        tenant,
        new.endpoint_id,
        new.url,
        new.description,
        new.states,
        new.operations,
        new.created_at,
        most,
    )
    return created is not None


async def page(connection: Connection, tenant: str, *, after: Key, limit: int) -> list[Endpoint]:
    """A tenant's endpoints beyond the key of the last one seen, the oldest first."""
    rows = await connection.fetch(statement("endpoints/list"), tenant, *after, limit)
    return [Endpoint(*row) for row in rows]


async def read(connection: Connection, tenant: str, endpoint_id: UUID) -> Endpoint | None:
    """One endpoint."""
    row = await connection.fetchrow(statement("endpoints/read"), tenant, endpoint_id)
    return Endpoint(*row) if row else None


async def hold(connection: Connection, tenant: str, endpoint_id: UUID) -> Endpoint | None:
    """One endpoint, which nobody else changes or deletes until the transaction ends."""
    row = await connection.fetchrow(statement("endpoints/hold"), tenant, endpoint_id)
    return Endpoint(*row) if row else None


async def change(
    connection: Connection, tenant: str, held: Endpoint, new: Endpoint, now: datetime
) -> None:
    """Make the endpoint that is held the new one; what is not for its tenant to change stays.

    Where it is disabled now, what was waiting to be sent is cancelled.
    """
    await connection.execute(
        statement("endpoints/change"),
        tenant,
        held.endpoint_id,
        new.url,
        new.description,
        new.states,
        new.operations,
        now,
        new.disabled_at,
        new.disabled_reason,
        new.failing_since,
    )
    if held.disabled_at is None and new.disabled_at is not None:
        await _cancel(connection, tenant, held.endpoint_id, now)
    if held.disabled_at is not None and new.disabled_at is None:
        await _tell(connection, tenant)


async def delete(connection: Connection, tenant: str, endpoint_id: UUID, now: datetime) -> bool:
    """Delete an endpoint with its secrets; False where there is none.

    What was waiting to be sent to it is cancelled, what was sent stays in the history.
    """
    deleted = await connection.fetchval(statement("endpoints/delete"), tenant, endpoint_id)
    if deleted is None:
        return False
    await _cancel(connection, tenant, endpoint_id, now)
    return True


async def _cancel(connection: Connection, tenant: str, endpoint_id: UUID, now: datetime) -> None:
    await connection.execute(statement("endpoints/cancel_deliveries"), tenant, endpoint_id, now)


async def secrets(
    connection: Connection, tenant: str, endpoint_id: UUID, now: datetime
) -> list[SealedSecret]:
    """The secrets that an endpoint's messages are signed with, the newest first."""
    rows = await connection.fetch(statement("endpoints/secrets"), tenant, endpoint_id, now)
    return [SealedSecret(*row) for row in rows]


async def add_secret(
    connection: Connection,
    tenant: str,
    endpoint_id: UUID,
    secret_id: UUID,
    sealed: bytes,
    now: datetime,
) -> None:
    """Give an endpoint that has none, or whose secrets all end, its newest secret."""
    await connection.execute(
        statement("endpoints/add_secret"), tenant, endpoint_id, secret_id, sealed, now
    )


async def expire_secrets(
    connection: Connection, tenant: str, endpoint_id: UUID, end: datetime, now: datetime
) -> None:
    """Let the secrets of an endpoint be valid until `end` and no longer; forget those that are not."""
    await connection.execute(statement("endpoints/expire_secrets"), tenant, endpoint_id, end)
    await connection.execute(statement("endpoints/forget_secrets"), tenant, endpoint_id, now)


async def deliveries(
    connection: Connection, tenant: str, wanted: Wanted, *, after: Key, limit: int
) -> list[Delivery]:
    """A tenant's deliveries beyond the key of the last one seen, the newest first."""
    name, more = "endpoints/deliveries", []
    if wanted.execution_id is not None:
        name, more = "endpoints/execution_deliveries", [wanted.execution_id, wanted.endpoint_id]
    elif wanted.status not in (None, "delivered"):
        name, more = "endpoints/undelivered", [wanted.endpoint_id]
    elif wanted.endpoint_id is not None:
        name, more = "endpoints/endpoint_deliveries", [wanted.endpoint_id]
    rows = await connection.fetch(
        statement(name), tenant, *after, limit, wanted.status, wanted.since, wanted.before, *more
    )
    return [Delivery(*row) for row in rows]


async def delivery(
    connection: Connection, tenant: str, delivery_id: UUID
) -> tuple[Delivery, bytes] | None:
    """One delivery, and the payload that it sends."""
    row = await connection.fetchrow(statement("endpoints/delivery"), tenant, delivery_id)
    if row is None:
        return None
    *columns, payload = row
    return Delivery(*columns), payload


async def attempts(connection: Connection, tenant: str, delivery_id: UUID) -> list[Attempt]:
    """Every attempt of a delivery, the oldest first."""
    rows = await connection.fetch(statement("endpoints/attempts"), tenant, delivery_id)
    return [Attempt(*row) for row in rows]


async def redeliver(connection: Connection, tenant: str, delivery_ids: Collection[UUID]) -> None:
    """Send these again from the beginning of the schedule, whatever became of them."""
    await connection.execute(statement("endpoints/redeliver"), tenant, list(delivery_ids))
    await _tell(connection, tenant)


async def to_redeliver(
    connection: Connection,
    tenant: str,
    endpoint_id: UUID,
    statuses: Collection[Status],
    *,
    since: datetime,
    before: datetime,
    limit: int,
) -> list[UUID]:
    """The deliveries to an endpoint that ended in one of these ways, the oldest first."""
    rows = await connection.fetch(
        statement("endpoints/to_redeliver"),
        tenant,
        endpoint_id,
        list(statuses),
        since,
        before,
        limit,
    )
    return [row[0] for row in rows]


async def send_test(
    connection: Connection,
    tenant: str,
    endpoint_id: UUID,
    delivery_id: UUID,
    message_id: str,
    payload: bytes,
) -> None:
    """Send a test message to one endpoint, like any other message."""
    await connection.execute(
        statement("endpoints/add_message"), tenant, message_id, TEST_TYPE, payload
    )
    await connection.execute(
        statement("endpoints/add_delivery"), tenant, delivery_id, endpoint_id, message_id
    )
    await _tell(connection, tenant)


async def _tell(connection: Connection, tenant: str) -> None:
    """Wake up who sends, when the transaction commits."""
    await connection.execute(statement("endpoints/notify"), tenant)
