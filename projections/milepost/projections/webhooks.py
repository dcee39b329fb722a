"""Webhooks as they are sent: what is owed to whom, who is sending it, and how it went.

Several workers do this side by side. A delivery is taken until a time (its lease), and whoever took
it writes how it went only while that lease is its own: one that was taken for lost is sent again, and
only the worker that took it last decides. Who locks both locks an endpoint before its deliveries.

All raise asyncpg.PostgresError, asyncpg.InterfaceError, OSError or TimeoutError where the database does.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, Literal, NamedTuple, get_args
from uuid import UUID

import asyncpg

from milepost.projections import endpoints
from milepost.projections.commits import committed
from milepost.projections.endpoints import Attempt, Status
from milepost.projections.queries import Connection
from milepost.projections.statements import statement

# Who waits for something to send listens here; the payload is a tenant.
CHANNEL: Final = "milepost_webhooks"
# By how much the clocks of the broker and of whoever made an endpoint may differ: a completion that
# seems so much older than the endpoint is sent to it as well.
CLOCKS: Final = timedelta(seconds=5)

Pool = asyncpg.Pool
# Why an endpoint is disabled without its tenant asking for it: it answered 410, or never.
Reason = Literal["gone", "failing"]
REASONS: Final[tuple[Reason, ...]] = get_args(Reason)

# A plan must not depend on when statistics were taken: these tables grow from nothing in minutes.
_SESSION: Final = {
    "application_name": "milepost-webhooks",
    "transaction_timeout": "10s",
    "idle_in_transaction_session_timeout": "5s",
    "lock_timeout": "4s",
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_seqscan": "off",
    "jit": "off",
}
_CONNECT_SECONDS: Final = 5
# As long as Postgres gives a transaction.
_COMMAND_SECONDS: Final = 10


class Message(NamedTuple):
    """What is sent, to however many endpoints: `payload` is the body, `message_id` the `webhook-id`.

    `traceparent` is that of the event that caused it.
    """

    tenant: str
    message_id: str
    type: str
    execution_id: UUID | None
    payload: bytes
    traceparent: str | None = None


class Offer(NamedTuple):
    """A message, and what decides who wants it; `operation` None: not known, so it matches."""

    message: Message
    state: str
    operation: str | None
    recorded_at: datetime


class Claim(NamedTuple):
    """A delivery that is this worker's to send until `held_until`.

    `attempts` are those that were made before; `sealed` the secrets to sign with, the newest first.
    """

    tenant: str
    delivery_id: UUID
    endpoint_id: UUID
    message_id: str
    url: str
    payload: bytes
    attempts: int
    held_until: datetime
    sealed: list[bytes]
    traceparent: str | None

    @property
    def endpoint(self) -> tuple[str, UUID]:
        """Whose it is: endpoints are known by tenant and id."""
        return self.tenant, self.endpoint_id


class Disabled(NamedTuple):
    """An endpoint that has just been disabled, and those of its tenant that hear of it."""

    endpoint: endpoints.Endpoint
    at: datetime
    reason: Reason
    others: list[UUID]


class Standing(NamedTuple):
    """All workers together: deliveries that have not ended, how long the one that has waited longest is
    overdue, and how many endpoints are disabled, by reason ("asked" or a Reason)."""

    pending: int
    overdue_seconds: float
    disabled: Mapping[str, int]


async def connect(dsn: str, *, size: int) -> Pool:
    """A pool for the worker; connects once, so it raises where the database cannot be reached."""
    return await asyncpg.create_pool(
        dsn,
        min_size=1,
        max_size=size,
        timeout=_CONNECT_SECONDS,
        command_timeout=_COMMAND_SECONDS,
        server_settings=_SESSION,
        reset=_keep,
    )


async def _keep(connection: Any) -> None:
    """Nothing to reset: no statement here leaves anything in its session."""


async def listen(dsn: str) -> "asyncpg.Connection[asyncpg.Record]":
    """A connection outside the pool, for LISTEN."""
    return await asyncpg.connect(
        dsn, timeout=_CONNECT_SECONDS, command_timeout=_COMMAND_SECONDS, server_settings=_SESSION
    )


async def take_in(pool: Pool, offers: Sequence[Offer]) -> int:
    """Store the messages that an enabled endpoint wants, and a delivery to each; how many are new.

    One transaction. Again with the same messages it changes nothing.
    """
    async with committed(pool.acquire) as connection:
        rows = await connection.fetch(
            statement("webhooks/wanting"),
            [offer.message.tenant for offer in offers],
            [offer.state for offer in offers],
            [offer.operation for offer in offers],
            [offer.recorded_at for offer in offers],
            CLOCKS,
        )
        return await add(
            connection, [(offers[row["number"]].message, row["endpoint_id"]) for row in rows]
        )


async def add(connection: Connection, wanted: Collection[tuple[Message, UUID]]) -> int:
    """Store messages, each with a delivery to an endpoint that is due at once; how many are new."""
    if not wanted:
        return 0
    # A row of messages that several endpoints want is written, and its payload sent, once.
    messages = {(message.tenant, message.message_id): message for message, _ in wanted}
    await connection.execute(statement("webhooks/message_insert"), *_columns(messages.values()))
    added: int = await connection.fetchval(
        statement("webhooks/delivery_insert"),
        [message.tenant for message, _ in wanted],
        [endpoint_id for _, endpoint_id in wanted],
        [message.message_id for message, _ in wanted],
    )
    return added


async def claim(
    pool: Pool,
    busy: Mapping[tuple[str, UUID], int],
    *,
    per_endpoint: int,
    per_tenant: int,
    most: int,
    lease: timedelta,
) -> list[Claim]:
    """Take at most `most` deliveries that are due.

    An endpoint and a tenant have so many calls at once; `busy` says how many an endpoint has already.
    """
    # Taken and not known, they would wait for the end of the lease.
    async with committed(pool.acquire) as connection:
        rows = await connection.fetch(
            statement("webhooks/claim"),
            [tenant for tenant, _ in busy],
            [endpoint_id for _, endpoint_id in busy],
            list(busy.values()),
            per_endpoint,
            per_tenant,
            most,
            lease,
        )
    return [Claim(*row) for row in rows]


async def next_due(pool: Pool) -> float | None:
    """Seconds until the next delivery is due, or taken for lost; None where there is none."""
    seconds: float | None = await pool.fetchval(statement("webhooks/next_due"))
    return seconds


async def standing(pool: Pool) -> Standing:
    """How things are now."""
    [row] = await pool.fetch(statement("webhooks/standing"))
    pending, overdue, disabled = row
    return Standing(pending, overdue, dict(disabled))


async def release(pool: Pool, claims: Collection[Claim]) -> None:
    """Give back what was taken and is not being sent: any worker may take it at once."""
    await pool.execute(
        statement("webhooks/release"),
        [claim.tenant for claim in claims],
        [claim.delivery_id for claim in claims],
        [claim.held_until for claim in claims],
    )


async def answered(connection: Connection, claim: Claim) -> None:
    """Something has arrived at the endpoint."""
    await connection.execute(
        statement("webhooks/endpoint_answered"), claim.tenant, claim.endpoint_id
    )


async def failed(connection: Connection, claim: Claim, at: datetime) -> datetime | None:
    """An attempt of `at` has failed; since when all have, None where the endpoint is not enabled."""
    since: datetime | None = await connection.fetchval(
        statement("webhooks/endpoint_failed"), claim.tenant, claim.endpoint_id, at
    )
    return since


async def attempted(
    connection: Connection, claim: Claim, attempt: Attempt, status: Status, wait: timedelta | None
) -> bool:
    """Write an attempt, the delivery's new status and when it is due again (None: it has ended).

    False where the delivery is no longer held under this claim: only the attempt is written then.
    """
    await connection.execute(
        statement("webhooks/attempt_insert"), claim.tenant, claim.delivery_id, *attempt
    )
    changed = await connection.fetchval(
        statement("webhooks/delivery_attempted"),
        claim.tenant,
        claim.delivery_id,
        claim.held_until,
        status,
        wait,
    )
    return changed is not None


async def disable(
    connection: Connection, claim: Claim, reason: Reason, now: datetime
) -> Disabled | None:
    """Disable the endpoint and cancel what was waiting for it; None where it is disabled already."""
    held = await endpoints.hold(connection, claim.tenant, claim.endpoint_id)
    if held is None or held.disabled_at is not None:
        return None
    new = held._replace(disabled_at=now, disabled_reason=reason)
    await endpoints.change(connection, claim.tenant, held, new, now)
    others = await connection.fetch(statement("webhooks/enabled_endpoints"), claim.tenant)
    return Disabled(held, now, reason, [row["endpoint_id"] for row in others])


async def note(connection: Connection, message: Message, endpoint_ids: Iterable[UUID]) -> None:
    """Keep a message in the log whoever gets it, and send it to these endpoints."""
    await connection.execute(statement("webhooks/message_insert"), *_columns([message]))
    await add(connection, [(message, endpoint_id) for endpoint_id in endpoint_ids])


def _columns(messages: Iterable[Message]) -> list[list[Any]]:
    return [list(column) for column in zip(*messages, strict=True)]
