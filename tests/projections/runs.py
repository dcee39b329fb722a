"""Executions as their publishers see them: each method is a report, encoded and placed in the log."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from milepost.schemas.binding import Event, Headers, decode, encode
from milepost.schemas.events import (
    CancellationRequested,
    Cancelled,
    EventData,
    Failed,
    Progressed,
    Requested,
    Started,
    Succeeded,
)
from milepost.schemas.examples import BEGIN
from milepost.schemas.topics import Topics
from milepost.schemas.values import Failure, Progress

TOPICS: Final = Topics()
ECS: Final = "/providers/ecs/eu-west-1"
K8S: Final = "/providers/k8s/eu-west-1"


class Record(NamedTuple):
    """A record at its place in the log; `timestamp` in milliseconds since 1970."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers

    def recorded_at(self, moment: datetime) -> "Record":
        """The same record, appended by the broker at `moment`."""
        return self._replace(timestamp=int(moment.timestamp() * 1_000))


def minute(number: float) -> datetime:
    """The moment that many minutes after the story begins."""
    return BEGIN + timedelta(minutes=number)


def event(record: Record) -> Event:
    """What the record holds."""
    decoded = decode(record)
    assert isinstance(decoded, Event), decoded
    return decoded


def placed(records: Sequence[Record], offset: int = 0, partition: int = 0) -> list[Record]:
    """These records one after the other in the log."""
    return [
        record._replace(partition=partition, offset=number)
        for number, record in enumerate(records, offset)
    ]


@dataclass(frozen=True)
class Run:
    """One execution. Reports happen `at` minutes after the story begins and are reported, recorded at once.

    The same report, told twice, has the same event id; with another `id` it is another event.
    """

    tenant: str = "acme"
    key: str = "k-1"
    operation: str = "provision"
    parameters: dict[str, Any] | None = None

    @property
    def execution_id(self) -> str:
        return self._request(BEGIN).execution_id(self.tenant)

    def requested(self, at: float = 0, **told: Any) -> Record:
        facts = {name: told.pop(name) for name in list(told) if name in Requested.model_fields}
        return self._report(self._request(minute(at), **facts), at, **told)

    def started(self, at: float = 1, **told: Any) -> Record:
        return self._told(Started, at, told)

    def progressed(self, at: float = 2, percent: float | None = None, **told: Any) -> Record:
        known = {name: told.pop(name) for name in ("message", "step", "steps") if name in told}
        if percent is not None or known:
            told["progress"] = Progress(percent=percent, **known)
        return self._told(Progressed, at, told)

    def succeeded(self, at: float = 5, **told: Any) -> Record:
        return self._told(Succeeded, at, told)

    def failed(self, at: float = 5, **told: Any) -> Record:
        told.setdefault("failure", Failure(code="image_missing", message="no such image"))
        return self._told(Failed, at, told)

    def cancelled(self, at: float = 5, **told: Any) -> Record:
        return self._told(Cancelled, at, told)

    def cancellation_requested(self, at: float = 3, **told: Any) -> Record:
        return self._told(CancellationRequested, at, told)

    def _request(self, occurred_at: datetime, **facts: Any) -> Requested:
        facts = {"provider": "ecs"} | facts
        if "parameters_digest" not in facts:
            facts = {"parameters": self.parameters} | facts
        return Requested(
            occurred_at=occurred_at, operation=self.operation, idempotency_key=self.key, **facts
        )

    def _told(self, kind: type[EventData], at: float, told: dict[str, Any]) -> Record:
        facts = {name: told.pop(name) for name in list(told) if name in kind.model_fields}
        return self._report(kind(occurred_at=minute(at), **facts), at, **told)

    def _report(
        self,
        data: EventData,
        at: float,
        *,
        id: str | None = None,
        source: str = ECS,
        sequence: int | None = None,
        reported: float | None = None,
        recorded: float | None = None,
    ) -> Record:
        reported_at = minute(at if reported is None else reported)
        encoded = encode(
            data,
            tenant=self.tenant,
            execution_id=self.execution_id,
            source=source,
            reported=reported_at,
            event_id=id or f"{data.type}/{at}",
            sequence=sequence,
        )
        recorded_at = reported_at if recorded is None else minute(recorded)
        return Record(
            TOPICS.events, 0, 0, 0, encoded.key, encoded.value, encoded.headers
        ).recorded_at(recorded_at)
