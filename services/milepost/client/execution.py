"""A handle for one execution: what a provider reports about it, in order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from milepost.schemas.events import (
    Cancelled,
    EventData,
    Failed,
    Progressed,
    Started,
    Succeeded,
)
from milepost.schemas.failures import standard
from milepost.schemas.values import Category, LogLine, Origin, Resource

if TYPE_CHECKING:
    from milepost.client.publisher import Published, Publisher


class ExecutionHandle:
    """Publishes events of one execution; each carries the next `sequence` number.

    `event_id` is the id of the `requested` event where `Publisher.request` made the handle, else
    None. Times are aware datetimes; `occurred_at` defaults to now. Errors: see Publisher.
    """

    def __init__(
        self, publisher: Publisher, tenant: str, execution_id: str, sequence: Iterator[int]
    ) -> None:
        self.tenant = tenant
        self.execution_id = execution_id
        self.event_id: str | None = None
        self._publisher = publisher
        self._sequence = sequence

    def __repr__(self) -> str:
        return f"ExecutionHandle({self.tenant!r}, {self.execution_id!r})"

    async def publish(
        self, data: EventData, *, event_id: str | None = None, traceparent: str | None = None
    ) -> Published:
        """Publish any event of this execution."""
        return await self._publisher.publish(
            data,
            self.tenant,
            self.execution_id,
            event_id=event_id,
            sequence=next(self._sequence),
            traceparent=traceparent,
        )

    async def started(
        self,
        *,
        resources: Sequence[Resource] | None = None,
        details: Mapping[str, Any] | None = None,
        occurred_at: datetime | None = None,
        event_id: str | None = None,
        traceparent: str | None = None,
    ) -> Published:
        """The provider has begun."""
        return await self._report(
            Started, occurred_at, event_id, traceparent, resources=resources, details=details
        )

    async def progressed(
        self,
        *,
        percent: float | None = None,
        message: str | None = None,
        step: int | None = None,
        steps: int | None = None,
        resources: Sequence[Resource] | None = None,
        log_lines: Sequence[LogLine | str] | None = None,
        log_link: str | None = None,
        occurred_at: datetime | None = None,
        event_id: str | None = None,
        traceparent: str | None = None,
    ) -> Published:
        """How far it is (`percent` of 0 to 100, `step` of `steps`). Empty, it is a heartbeat."""
        build = self._publisher.build
        facts = {"percent": percent, "message": message, "step": step, "steps": steps}
        known = {name: value for name, value in facts.items() if value is not None}
        lines = [
            line if isinstance(line, LogLine) else {"message": line} for line in log_lines or ()
        ]
        data = build(
            Progressed,
            occurred_at,
            progress=known or None,
            resources=resources,
            log_lines=lines or None,
            log_link=log_link,
        )
        return await self.publish(data, event_id=event_id, traceparent=traceparent)

    async def succeeded(
        self,
        *,
        resources: Sequence[Resource] | None = None,
        outputs: Mapping[str, Any] | None = None,
        occurred_at: datetime | None = None,
        event_id: str | None = None,
        traceparent: str | None = None,
    ) -> Published:
        """The operation is done."""
        return await self._report(
            Succeeded, occurred_at, event_id, traceparent, resources=resources, outputs=outputs
        )

    async def failed(
        self,
        code: str,
        message: str,
        *,
        category: Category | str | None = None,
        origin: Origin | str | None = None,
        provider_code: str | None = None,
        details: Mapping[str, Any] | None = None,
        last_lines: Sequence[str] | None = None,
        resources: Sequence[Resource] | None = None,
        occurred_at: datetime | None = None,
        event_id: str | None = None,
        traceparent: str | None = None,
    ) -> Published:
        """The operation ended without success; `resources` are what it left behind.

        A code of the catalogue (`milepost.schemas.failures`) brings its category and origin; another
        one is taken for non-retriable and the provider's.
        """
        known = standard(code)
        failure = {
            "code": code,
            "message": message,
            "category": category or (known.category if known else Category.NON_RETRIABLE),
            "origin": origin or (known.origin if known else Origin.PROVIDER),
            "provider_code": provider_code,
            "details": details,
            "last_lines": last_lines,
        }
        return await self._report(
            Failed, occurred_at, event_id, traceparent, failure=failure, resources=resources
        )

    async def cancelled(
        self,
        *,
        reason: str | None = None,
        requested_by: str | None = None,
        resources: Sequence[Resource] | None = None,
        occurred_at: datetime | None = None,
        event_id: str | None = None,
        traceparent: str | None = None,
    ) -> Published:
        """The operation was called off."""
        return await self._report(
            Cancelled,
            occurred_at,
            event_id,
            traceparent,
            reason=reason,
            requested_by=requested_by,
            resources=resources,
        )

    async def _report(
        self,
        kind: type[EventData],
        occurred_at: datetime | None,
        event_id: str | None,
        traceparent: str | None,
        **facts: Any,
    ) -> Published:
        data = self._publisher.build(kind, occurred_at, **facts)
        return await self.publish(data, event_id=event_id, traceparent=traceparent)
