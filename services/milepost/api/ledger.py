"""Accepting requests: note, publish, answer; and what was noted but not published, later.

The ledger (table `requests`) makes an idempotency key's reuse known at once, and an id that was
handed out known before the fold has it. It is never the source of truth: the events topic is.
"""

import asyncio
from datetime import datetime, timedelta
from functools import partial
from typing import Final
from uuid import uuid4

import orjson
import structlog

from milepost import tracing
from milepost.api import metrics
from milepost.api.access import EVERY_TENANT
from milepost.api.broker import SOURCE, Broker, require_size
from milepost.api.database import Database
from milepost.api.problems import INVALID_REQUEST, KEY_REUSED, Problem
from milepost.projections import queries
from milepost.projections.outgoing import pack_headers
from milepost.projections.queries import Connection, HeldExecution, Request
from milepost.schemas.binding import Encoded, encode
from milepost.schemas.events import Requested

_SWEEP_SECONDS: Final = 2.0
# Longer than the first attempt may take.
_SWEEP_AGE: Final = timedelta(seconds=5)
_SWEEP_ROWS: Final = 100
_log: Final = structlog.get_logger(__name__)


class Ledger:
    """Accepts requests. `topic` is the events topic."""

    def __init__(self, database: Database, broker: Broker, topic: str) -> None:
        self._database = database
        self._broker = broker
        self._topic = topic

    async def accept(self, tenant: str, requested: Requested, now: datetime) -> tuple[str, bool]:
        """Note and publish a request; its execution id, and whether that published anything.

        The same request again publishes nothing, unless it was not published yet: then it goes out
        under the id of the event that was noted first. Raises Problem: another request under the
        same key (422), too large (413), or the database or the broker away (503).
        """
        execution_id = requested.execution_id(tenant)
        noted = await self._note(tenant, requested, now)
        if noted is None or noted.published_at is not None:
            return execution_id, False
        await self._publish(noted)
        await self._database.repeated_for(
            tenant, partial(queries.mark_published, published=[noted])
        )
        return execution_id, True

    async def _note(self, tenant: str, requested: Requested, now: datetime) -> Request | None:
        """The row of the ledger, made or found; None where the fold has the request already."""
        execution_id, fingerprint = requested.execution_id(tenant), requested.fingerprint()
        record = _record(requested, tenant, execution_id, now)

        async def note(connection: Connection) -> Request | None:
            held = await queries.execution(connection, execution_id, tenant, self._topic)
            if held is not None and (known := _fingerprint(held)) is not None:
                _refuse_reuse(known, fingerprint)
                return None
            await queries.note_request(
                connection,
                tenant=tenant,
                execution_id=execution_id,
                fingerprint=fingerprint,
                headers=pack_headers(record.headers),
                value=record.value,
                event_id=dict(record.headers)["ce_id"].decode(),
            )
            noted = await queries.request(connection, execution_id, tenant)
            assert noted is not None
            _refuse_reuse(noted.fingerprint, fingerprint)
            return noted

        # What was noted before the connection was lost is found again.
        return await self._database.repeated_for(tenant, note)

    async def run(self) -> None:
        """Publish, until cancelled, what was noted some seconds ago and is not published yet."""
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            try:
                await self.sweep(_SWEEP_AGE)
            except Problem as problem:
                _log.warning("requests_wait", error=problem.detail)
            except Exception:  # noqa: BLE001
                # One row that cannot be published must not keep the others from it for ever.
                _log.exception("sweep_failed")

    async def sweep(self, older_than: timedelta) -> int:
        """Publish the oldest of such requests; how many. Each is with one process at a time."""
        async with self._database.writing_for(EVERY_TENANT) as connection:
            waiting = await queries.requests_unpublished(connection, older_than, _SWEEP_ROWS)
            outcomes = await asyncio.gather(*map(self._publish, waiting), return_exceptions=True)
            pairs = list(zip(waiting, outcomes, strict=True))
            published = [request for request, outcome in pairs if outcome is None]
            await queries.mark_published(connection, published)
        metrics.PUBLISHED_LATE.inc(len(published))
        failures = [outcome for outcome in outcomes if outcome is not None]
        if failures:
            raise failures[0]
        return len(waiting)

    async def _publish(self, request: Request) -> None:
        await self._broker.publish(request.record, request.tenant)


def _record(requested: Requested, tenant: str, execution_id: str, now: datetime) -> Encoded:
    try:
        record = encode(
            requested,
            tenant=tenant,
            execution_id=execution_id,
            source=SOURCE,
            reported=now,
            event_id=str(uuid4()),
            traceparent=tracing.traceparent(),
        )
    except ValueError as error:
        raise Problem(INVALID_REQUEST, str(error)) from None
    require_size(record)
    return record


def _fingerprint(held: HeldExecution) -> str | None:
    """The fingerprint of the request that the fold has, if it has one."""
    request = orjson.loads(held.body)["facts"].get("request")
    return None if request is None else str(request[1]["fingerprint"])


def _refuse_reuse(known: str, asked: str) -> None:
    if known != asked:
        detail = (
            "The same tenant, operation and Idempotency-Key were used with another provider, other "
            "parameters or other links. Repeat that request, or choose a new key."
        )
        raise Problem(KEY_REUSED, detail)
