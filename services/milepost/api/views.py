"""Finding one execution: as the fold has it, or as it was asked for."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson

from milepost.api.access import EVERY_TENANT
from milepost.api.answers import fresh
from milepost.api.context import Context
from milepost.api.problems import UNKNOWN_EXECUTION, Problem
from milepost.projections import queries
from milepost.projections.queries import (
    ArchivedPart,
    Connection,
    HeldExecution,
    PartitionLag,
    Request,
    Silence,
)
from milepost.projections.view import render
from milepost.schemas.binding import moment
from milepost.schemas.events import Requested
from milepost.schemas.notifications import Execution, Transition
from milepost.schemas.values import TERMINAL, State


class Found(NamedTuple):
    """An execution; `version` is 0 where only the ledger of requests knows it yet."""

    execution_id: str
    tenant: str
    state: str
    version: int
    requested: bool
    lag: Sequence[PartitionLag]
    # The stored body, or the request of which there is no body yet.
    source: str | Request
    silence: Silence = Silence()

    @property
    def terminal(self) -> bool:
        """Whether nothing moves it any more."""
        return self.state in TERMINAL

    @property
    def etag(self) -> str:
        """Weak: the same facts, with another freshness."""
        # That nothing came is news too.
        missing = "".join("-" if since is None else "!" for since in self.silence)
        return f'W/"{self.tenant}:{self.execution_id}:{self.version}:{missing}"'

    def view(self) -> dict[str, Any]:
        """The members of `notifications.Execution`; times are datetimes."""
        if isinstance(self.source, Request):
            return pending(self.source)
        return shown(self.source, self.silence)


async def find(context: Context, execution_id: str, tenant: str | None) -> Found | None:
    """The execution, None where neither the fold nor the ledger knows it.

    The same id can be reported for several tenants: without `tenant`, the one who asked for it.
    """
    async with context.database.acting_for(tenant or EVERY_TENANT) as connection:
        return await find_on(connection, context, execution_id, tenant)


async def find_on(
    connection: Connection, context: Context, execution_id: str, tenant: str | None
) -> Found | None:
    """As `find`, on a connection that may see it."""
    held = await _held(connection, context, execution_id, tenant)
    if held is None or not held.requested:
        request = await queries.request(connection, execution_id, tenant)
        if request is not None and held is not None and held.tenant != request.tenant:
            # What another tenant's publisher reported under the id does not hide whose it is.
            held = await _held(connection, context, execution_id, request.tenant)
        if request is not None and held is None:
            lag = await queries.lag(connection, context.topic)
            return Found(execution_id, request.tenant, State.PENDING, 0, True, lag, request)
    if held is None:
        return None
    owner, state, version, requested, body, silence, lag = held
    return Found(execution_id, owner, state, version, requested, lag, body, silence)


async def _held(
    connection: Connection, context: Context, execution_id: str, tenant: str | None
) -> HeldExecution | None:
    return await queries.execution(
        connection, execution_id, tenant, context.topic, context.heartbeats
    )


async def require(
    connection: Connection, context: Context, execution_id: str, tenant: str | None
) -> Found:
    """As `find_on`; raises Problem (404) where it finds nothing."""
    found = await find_on(connection, context, execution_id, tenant)
    if found is None:
        raise unknown(execution_id)
    return found


def unknown(execution_id: str) -> Problem:
    """What to raise where there is no such execution."""
    return Problem(UNKNOWN_EXECUTION, f"No execution {execution_id} is known.")


def document(context: Context, found: Found) -> dict[str, Any]:
    """The view with its freshness: `documents.ExecutionAnswer`."""
    return fresh(found.view(), found.lag, context.now())


def whole(context: Context, found: Found) -> dict[str, Any]:
    """What an answer about a part says of the whole: `documents.ExecutionPart`."""
    view = document(context, found)
    return {name: view[name] for name in ("execution_id", "version", "recorded_at", "freshness")}


def archived(part: ArchivedPart | None) -> dict[str, Any] | None:
    """What an answer says of records that have left the log: `documents.Archived`."""
    if part is None:
        return None
    return {"records": part.records, "months": [month._asdict() for month in part.months]}


def shown(body: str, silence: Silence) -> dict[str, Any]:
    """The view of a stored body, and how silent the execution is."""
    return render(orjson.loads(body)) | silence._asdict()


def pending(request: Request) -> dict[str, Any]:
    """The view of an execution that was asked for and is not folded yet."""
    event, data = request.event, request.event.data
    assert isinstance(data, Requested)
    transition = Transition(
        state=State.PENDING,
        occurred_at=data.occurred_at,
        reported_at=moment(event.reported),
        recorded_at=None,
        event_id=event.id,
        source=event.source,
        partition=None,
        offset=None,
    )
    view = Execution(
        execution_id=request.execution_id,
        tenant=request.tenant,
        state=State.PENDING,
        version=0,
        requested=True,
        operation=data.operation,
        provider=data.provider,
        idempotency_key=data.idempotency_key,
        parameters=data.parameters,
        labels=data.labels or {},
        links=data.set_links(),
        expectations=data.expectations.model_dump(exclude_none=True) if data.expectations else {},
        requested_by=data.requested_by,
        transitions=(transition,),
        requested_at=data.occurred_at,
        first_recorded_at=request.created_at,
        recorded_at=request.created_at,
    )
    return view.model_dump()
