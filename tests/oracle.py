"""What the raw records of an events topic amount to, recomputed without any of the production fold.

`recompute(records)` takes them in any order and reads them with the CloudEvents SDK, the standard
library and the published JSON Schemas. Where one execution's records are in several partitions, in
which order they were folded is not in the records: then give it as `order`.
"""

import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Final, NamedTuple, cast
from uuid import UUID, uuid5

import rfc8785
from cloudevents.core.bindings import kafka
from cloudevents.core.exceptions import BaseCloudEventException
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from jsonschema.exceptions import ValidationError  # type: ignore[import-untyped]

from milepost.schemas.binding import Record

NAMESPACE: Final = UUID("5b0d7f0c-6a51-5d0b-9d7e-6d3c1f0a9e42")
TERMINAL: Final = ("succeeded", "failed", "cancelled")
# What a failure says that does not say otherwise.
FAILURE: Final = {"category": "non_retriable", "origin": "provider"}
_SCHEMAS: Final = Path(__file__).parent.parent / "schemas/published/events"
_MICROSECOND: Final = timedelta(microseconds=1)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_REQUIRED: Final = ("id", "source", "type", "time", "subject", "tenantid")

# What reading a record that is none raises, whoever notices.
NOT_AN_EVENT: Final = (
    ValueError, LookupError, TypeError, AttributeError, OSError, RecursionError, ValidationError,
    BaseCloudEventException,
)  # fmt: skip

Place = tuple[int, int]  # partition and offset
Name = tuple[str, str]  # tenant and execution id


class Report(NamedTuple):
    """A record that is an event; times as microseconds since 1970."""

    kind: str
    name: Name
    key: tuple[int, int, str, str]  # occurred, sequence, source, id
    reported: int
    recorded: int
    place: Place
    data: dict[str, Any]


@dataclass(frozen=True)
class History:
    """One execution's reports in the order of folding, and what they come to."""

    reports: Sequence[Report]

    @cached_property
    def end(self) -> Report | None:
        """The report that sealed it."""
        return next((one for one in self.reports if one.kind in TERMINAL), None)

    @property
    def state(self) -> str:
        if self.end:
            return self.end.kind
        return "running" if self._of("started", "progressed") else "pending"

    @property
    def at_end(self) -> "History":
        """As it was when it was sealed: what its completion tells."""
        assert self.end is not None
        return History(self.reports[: self.reports.index(self.end) + 1])

    @cached_property
    def contradictions(self) -> list[Report]:
        """Ends other than the first, requests with the key but not the content of the first."""
        ends = [one for one in self._of(*TERMINAL) if one.kind != self.state]
        fingerprints = [_fingerprint(one.data) for one in self._of("requested")]
        return ends + [
            one
            for one, fingerprint in zip(self._of("requested"), fingerprints, strict=True)
            if fingerprint != fingerprints[0]
        ]

    @property
    def log_lines(self) -> int:
        """Lines that it logged, those of repeated reports once."""
        return sum(
            {one.key[2:]: len(one.data.get("log_lines") or ()) for one in self.reports}.values()
        )

    @cached_property
    def commands(self) -> Counter[tuple[str, str]]:
        """What a provider is told to do, with the id of the event that led to it."""
        commands: Counter[tuple[str, str]] = Counter()
        before: list[str] = []
        waits = cancelled = False
        for one in self.reports:
            sealed = any(kind in TERMINAL for kind in before)
            begun = sealed or "started" in before or "progressed" in before
            if one.kind == "requested" and not begun and "requested" not in before:
                commands["start", one.key[3]] += 1
            if waits and not begun and one.kind in ("requested", "started", "progressed"):
                commands["cancel", one.key[3]] += 1
                waits = False
            if one.kind == "cancellation_requested" and not sealed and not cancelled:
                cancelled, waits = True, not before
                if before:
                    commands["cancel", one.key[3]] += 1
            before.append(one.kind)
        return commands

    @cached_property
    def view(self) -> dict[str, Any]:
        """What the API would show of it, as far as it is told here."""
        told = [one for one in self.reports if one not in self.contradictions]
        requested = [one for one in told if one.kind == "requested"]
        newest = max(requested, key=_key).data if requested else {}
        progress = [
            one._replace(data=one.data.get("progress") or {}) for one in self._of("progressed")
        ]
        ends = [one for one in told if one.kind in TERMINAL]
        outcome = max(ends, key=_key).data if ends else {}
        names = ("percent", "message", "step", "steps")
        facts = {name: _newest(progress, name) for name in names}
        return {
            "state": self.state,
            "requested": bool(requested),
            **{name: newest.get(name) for name in ("operation", "provider", "idempotency_key")},
            "parameters": _newest(requested, "parameters"),
            "labels": _newest(requested, "labels") or {},
            "requested_by": _newest(requested, "requested_by"),
            "expectations": _newest(requested, "expectations") or {},
            "progress": {name: fact for name, fact in facts.items() if fact is not None} or None,
            "log_link": _newest(self._of("progressed"), "log_link"),
            "details": _newest(self._of("started"), "details"),
            "outputs": outcome.get("outputs") if self.state == "succeeded" else None,
            "failure": FAILURE | outcome["failure"] if self.state == "failed" else None,
            "resources": self._resources(newest.get("provider")),
            "transitions": self._transitions(told),
        }

    def expected(self) -> Iterator[tuple[Place, str]]:
        """Each record, with the dispositions that it may have got (their first letters)."""
        contradictions = self.contradictions
        seen: set[tuple[str, ...]] = set()
        cancelled = False
        for number, one in enumerate(self.reports):
            sealed = bool(self.end) and number > self.reports.index(self.end)
            known = one.key[2:] in seen
            if number == 0 or one is self.end:
                allowed = "a"
            elif known:
                allowed = "ds"
            elif one.kind == "cancellation_requested":
                allowed = "s" if sealed else "d" if cancelled else "a"
            elif one in contradictions:
                allowed = "c"
            else:
                allowed = "lds" if sealed else "alds"
            cancelled |= one.kind == "cancellation_requested" and not sealed
            seen.add(one.key[2:])
            yield one.place, allowed

    def _of(self, *kinds: str) -> list[Report]:
        return [one for one in self.reports if one.kind in kinds]

    def _transitions(self, told: Sequence[Report]) -> dict[str, dict[str, Any]]:
        begun = [one for one in told if one.kind == "started"]
        ways = {
            "pending": [one for one in told if one.kind == "requested"],
            "running": begun or [one for one in told if one.kind == "progressed"],
        }
        if self.end:
            ways[self.state] = [one for one in told if one.kind == self.state]
        firsts = {state: min(ones, key=_key) for state, ones in ways.items() if ones}
        return {
            state: {
                "occurred_at": None if one.kind == "progressed" else _moment(one.key[0]),
                "reported_at": _moment(one.reported),
                "recorded_at": _moment(one.recorded),
                "inferred": one.kind == "progressed",
                "source": one.key[2],
                "event_id": one.key[3],
                "partition": one.place[0],
                "offset": one.place[1],
            }
            for state, one in firsts.items()
        }

    def _resources(self, provider: str | None) -> list[dict[str, Any]]:
        said: dict[tuple[str, ...], list[Report]] = {}
        for one in self.reports:
            for resource in one.data.get("resources") or ():
                where = (resource.get(name) or "" for name in ("provider", "region"))
                name = (resource["kind"], resource["id"], *where)
                said.setdefault(name, []).append(one._replace(data=resource))
        return [
            {
                "kind": kind,
                "id": id_,
                "provider": own or provider,
                "region": region or None,
                "status": _newest(reports, "status"),
                "attributes": _newest(reports, "attributes"),
            }
            for (kind, id_, own, region), reports in sorted(said.items())
        ]


@dataclass(frozen=True)
class Recomputed:
    """What a topic's records amount to."""

    executions: Mapping[Name, History]
    quarantined: frozenset[Place]

    @cached_property
    def states(self) -> Counter[tuple[str, str]]:
        """How many executions each tenant has in each state."""
        return Counter((tenant, one.state) for (tenant, _), one in self.executions.items())

    @cached_property
    def expected(self) -> dict[Place, str]:
        """Each record, with the first letters of the dispositions that it may have got."""
        histories = (history.expected() for history in self.executions.values())
        folded = {place: allowed for one in histories for place, allowed in one}
        return folded | dict.fromkeys(self.quarantined, "q")

    @cached_property
    def completions(self) -> Counter[tuple[str, str, str]]:
        """Exactly one for each execution that came to an end: state, tenant, execution id."""
        return Counter((one.state, *name) for name, one in self.executions.items() if one.end)

    @cached_property
    def commands(self) -> Counter[tuple[str, ...]]:
        """Command, id of the event, tenant, execution id."""
        return Counter(
            {
                (*told, *name): count
                for name, one in self.executions.items()
                for told, count in one.commands.items()
            }
        )


def recompute(
    records: Iterable[Record], order: Callable[[Place], Any] = lambda place: place
) -> Recomputed:
    """Everything that these records amount to, folded in this order (by default, by offset)."""
    reports: dict[Name, list[Report]] = {}
    quarantined = set()
    for record in sorted(records, key=lambda record: order((record.partition, record.offset))):
        try:
            one = _read(record)
        except NOT_AN_EVENT:
            quarantined.add((record.partition, record.offset))
        else:
            reports.setdefault(one.name, []).append(one)
    histories = {name: History(ones) for name, ones in reports.items()}
    return Recomputed(histories, frozenset(quarantined))


def _read(record: Record) -> Report:
    """Raises when it is no event of the contract."""
    headers = dict(record.headers)
    _require(len(headers) == len(record.headers), "no header twice")
    message = kafka.KafkaMessage(headers, record.key, record.value)  # type: ignore[arg-type]
    content_type = headers.get("content-type") or b""
    event = (
        kafka.from_structured_event(message)
        if content_type.startswith(b"application/cloudevents+json")
        else kafka.from_binary_event(message)
    )
    told, data = event.get_attributes(), cast(dict[str, Any], event.get_data())
    _require(told.get("specversion") == "1.0", "CloudEvents 1.0")
    id_, source, type_, time, subject, tenant = (told[name] for name in _REQUIRED)
    _require(record.key == subject.encode(), "the subject as key")
    _require(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", tenant), "a tenant")
    _require(str(UUID(subject)) == subject, "an execution id")
    _validator(type_).validate(data)
    kind = type_.split(".")[2]
    _require(kind != "requested" or subject == _execution_id(tenant, data), "its own id")
    _bounded(data)
    occurred = _since(datetime.fromisoformat(data["occurred_at"]))
    key = (occurred, int(told.get("sequence") or 0), source, id_)
    place = (record.partition, record.offset)
    return Report(kind, (tenant, subject), key, _since(time), record.timestamp * 1_000, place, data)


@cache
def _validator(type_: str) -> Draft202012Validator:
    """Raises FileNotFoundError for a type that is not published."""
    schema = json.loads((_SCHEMAS / f"{type_}.schema.json").read_text())
    return Draft202012Validator(schema)


def _execution_id(tenant: str, data: dict[str, Any]) -> str:
    """RFC 9562 version 5, of the canonical JSON of what makes a request what it is."""
    key = data.get("idempotency_key")
    if key is None:
        links = {name: link for name, link in (data.get("links") or {}).items() if link}
        parameters = data.get("parameters") or {}
        key = {"provider": data.get("provider"), "parameters": parameters, "links": links}
    return str(uuid5(NAMESPACE, rfc8785.dumps([tenant, data["operation"], key]).decode()))


def _fingerprint(data: dict[str, Any]) -> tuple[str, ...]:
    digest = data.get("parameters_digest")
    digest = digest or hashlib.sha256(rfc8785.dumps(data.get("parameters") or {})).hexdigest()
    return str(data.get("provider")), digest, json.dumps(data.get("links") or {}, sort_keys=True)


def _bounded(value: Any) -> None:
    """Neither what Postgres cannot store nor what others could not read."""
    match value:
        case str():
            _require("\0" not in value, "no NUL")
            value.encode()  # raises UnicodeEncodeError, a ValueError, for a lone surrogate
        case float():
            _require(math.isfinite(value), "a finite number")
        case int():
            _require(-(2**63) <= value < 2**63, "64 bits")
        case dict():
            for name, item in value.items():
                _bounded(name)
                _bounded(item)
        case list():
            for item in value:
                _bounded(item)


def _since(moment: datetime) -> int:
    """Microseconds since 1970; raises TypeError for a time without an offset."""
    _require(_EPOCH <= moment < _EPOCH.replace(year=2200), "a time of ours")
    return (moment - _EPOCH) // _MICROSECOND


def _moment(microseconds: int) -> datetime:
    return _EPOCH + microseconds * _MICROSECOND


def _key(one: Report) -> tuple[int, int, str, str]:
    return one.key


def _newest(reports: Iterable[Report], name: str) -> Any:
    """What the newest of those that say anything says."""
    telling = [one for one in reports if one.data.get(name) is not None]
    return max(telling, key=_key).data[name] if telling else None


def _require(holds: object, what: str) -> None:
    if not holds:
        raise ValueError(f"not {what}")
