"""The ledger of requests that the API accepted."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from milepost.projections.outgoing import unpack_headers
from milepost.projections.queries.records import Connection
from milepost.projections.statements import statement
from milepost.schemas.binding import Encoded, Event, check


class Request(NamedTuple):
    """A row of the ledger: the `requested` event that the API accepted, the record that it goes out in,
    and when the broker had it.

    The event has no place in the log yet.
    """

    tenant: str
    execution_id: str
    fingerprint: str
    event: Event
    record: Encoded
    created_at: datetime
    published_at: datetime | None


async def note_request(
    connection: Connection,
    *,
    tenant: str,
    execution_id: str,
    fingerprint: str,
    event_id: str,
    headers: bytes,
    value: bytes,
) -> bool:
    """Note a request before it is published; False where the execution has one already."""
    created_at = await connection.fetchval(
        statement("request_insert"), tenant, execution_id, fingerprint, event_id, headers, value
    )
    return created_at is not None


async def request(connection: Connection, execution_id: str, tenant: str | None) -> Request | None:
    """The request that the API accepted for this execution."""
    row = await connection.fetchrow(statement("request"), execution_id, tenant)
    return read_request(row) if row else None


async def requests_unpublished(
    connection: Connection, older_than: timedelta, limit: int
) -> list[Request]:
    """Requests that nobody has published, locked until the transaction ends, oldest first."""
    rows = await connection.fetch(statement("requests_unpublished"), older_than, limit)
    return [read_request(row) for row in rows]


async def mark_published(connection: Connection, published: Sequence[Request]) -> None:
    """Note that the broker has these requests."""
    await connection.execute(
        statement("request_published"),
        [sent.execution_id for sent in published],
        [sent.tenant for sent in published],
    )


def read_request(row: Iterable[Any]) -> Request:
    """The request in the columns that `request.sql` has."""
    tenant, execution_id, fingerprint, headers, value, created_at, published_at = row
    named = [(name, text) for name, text in unpack_headers(headers) if text is not None]
    record = Encoded(str(execution_id).encode(), value, named)
    event = check(record)
    assert isinstance(event, Event), event
    return Request(tenant, str(execution_id), fingerprint, event, record, created_at, published_at)
