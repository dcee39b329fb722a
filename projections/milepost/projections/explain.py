"""What became of one raw record and why, in words."""

from datetime import datetime
from typing import Any, Final, NamedTuple

import asyncpg
import orjson

from milepost.projections.outgoing import Outgoing, unpack
from milepost.projections.queries import Connection, StoredRecord
from milepost.projections.statements import statement
from milepost.projections.view import SKEW
from milepost.schemas.binding import Event, Headers, Rejection, decode, moment
from milepost.schemas.values import BIGINT

_RAW: Final = ("topic", "partition", "offset", "recorded_at", "key", "headers", "value")
_MERGED: Final = "what it knows better is merged, the state stays"
WHY: Final[dict[tuple[str, str | None], str]] = {
    ("applied", None): "It moved the execution on, or brought newer facts.",
    ("applied", "filled"): "The request came after other events of the execution: it fills in what "
    "was asked for, and the start command went out.",
    ("applied", "merged"): f"Its state was known already: {_MERGED}.",
    ("applied", "inferred"): "It is the first sign that the provider is at work: the execution is "
    "running though `started` has not come yet.",
    ("late", None): f"The execution was over when it came: {_MERGED}.",
    ("late", "filled"): "The request came after the execution had begun or ended: it fills in what "
    "was asked for, the state stays.",
    ("late", "repeated"): f"The same was told before by another event: {_MERGED}.",
    ("duplicate", "known_event"): "This very event (its source and id) had been folded: no effect.",
    ("duplicate", "repeated"): "Another event had said all of it: no effect.",
    ("duplicate", "already_requested"): "The cancellation had been requested: no second command.",
    ("stale", "older_progress"): "Newer progress was known already: no effect.",
    ("stale", "already_terminal"): "There was nothing left to call off, the execution was over: no "
    "effect.",
    ("conflicting", "key_reused"): "Its idempotency key had been used with another provider, other "
    "parameters or other links: the first request stands, and the execution is flagged.",
}


class Explanation(NamedTuple):
    """One raw record and what became of it; `why` is a sentence for each thing to know.

    `occurred_at`, `reported_at`, `event` are None for a record that is no event. `transition` is the
    state that the record brought the execution into, as far as that is known. `emitted` went out.
    """

    topic: str
    partition: int
    offset: int
    disposition: str
    reason: str | None
    why: str
    tenant: str | None
    execution_id: str | None
    ordinal: int | None
    transition: str | None
    occurred_at: datetime | None
    reported_at: datetime | None
    recorded_at: datetime
    skewed: bool
    event: dict[str, Any] | None
    emitted: list[dict[str, Any]]
    key: str | None
    headers: list[tuple[str, str | None]]
    value: str | None
    value_bytes: int
    sha256: str


class NotInLog(Exception):
    """There is no such record; the text says what is known of its place."""


async def explain(connection: Connection, topic: str, partition: int, offset: int) -> Explanation:
    """What became of the record at this place. Raises NotInLog."""
    row = None
    if 0 <= partition < 2**31 and 0 <= offset < BIGINT:
        row = await connection.fetchrow(statement("raw_record"), topic, partition, offset)
    if row is None:
        positions = await connection.fetch(statement("folded_positions"))
        raise NotInLog(_missing(topic, partition, offset, positions))
    record = StoredRecord(*(row[name] for name in _RAW))
    return _explanation(row, record.headers, decode(record))


def _explanation(row: asyncpg.Record, headers: Headers, event: Event | Rejection) -> Explanation:
    recorded = row["recorded_at"]
    known = event if isinstance(event, Event) and row["execution_id"] else None
    times = (known.occurred, known.reported, known.recorded) if known else (0,)
    return Explanation(
        row["topic"],
        row["partition"],
        row["offset"],
        row["disposition"],
        row["reason"],
        why(row["disposition"], row["reason"]),
        row["tenant"],
        str(row["execution_id"]) if row["execution_id"] else None,
        row["ordinal"],
        _transition(row),
        moment(known.occurred) if known else None,
        moment(known.reported) if known else None,
        recorded,
        max(times) - min(times) > SKEW,
        _event(known) if known else None,
        [_emitted(sent) for sent in unpack(row["emitted"] or [])],
        _text(row["key"]),
        [(name, _text(value)) for name, value in headers],
        _text(row["value"]),
        len(row["value"] or b""),
        row["sha256"].hex(),
    )


def why(disposition: str, reason: str | None) -> str:
    """The sentence for what the fold did."""
    if disposition == "quarantined":
        _, field, message = (reason or "::").split(":", 2)
        return (
            f"It cannot be an event: {field.strip()}: {message.strip()}. Nothing was folded; the raw "
            "record is kept here and went to the quarantine topic."
        )
    if disposition == "conflicting" and reason and reason.startswith("already_"):
        return (
            f"The execution had {reason.removeprefix('already_')} before, and an end is sealed: the "
            "contradiction is flagged on the execution, and only its resources are merged."
        )
    known = WHY.get((disposition, reason))
    return known or f"The fold called it {disposition} ({reason})."


def _transition(row: asyncpg.Record) -> str | None:
    """The state whose transition, as held now, comes from this record."""
    held = orjson.loads(row["body"])["transitions"] if row["body"] else {}
    place = [row["partition"], row["offset"]]
    return next((state for state, told in held.items() if told[-2:] == place), None)


def _event(event: Event) -> dict[str, Any]:
    return {
        "type": event.type,
        "source": event.source,
        "id": event.id,
        "sequence": event.sequence,
        "traceparent": event.traceparent,
        "data": event.data.model_dump(mode="json", exclude_none=True),
    }


def _emitted(sent: Outgoing) -> dict[str, Any]:
    headers = {name: _text(value) for name, value in sent.headers}
    return {
        "topic": sent.topic,
        "type": headers.get("ce_type") or headers.get("milepost-type"),
        "id": headers.get("ce_id"),
        "key": _text(sent.key),
        "headers": headers,
        "value": _text(sent.value),
    }


def _text(raw: bytes | None) -> str | None:
    """Bytes for people: what is not UTF-8 is written as backslashes and hexadecimal digits."""
    return None if raw is None else raw.decode("utf-8", "backslashreplace")


def _missing(topic: str, partition: int, offset: int, positions: list[asyncpg.Record]) -> str:
    """Why there is no such record."""
    where = f"{topic}/{partition}/{offset}"
    folded = {(row["topic"], row["partition"]): row["next_offset"] for row in positions}
    if (topic, partition) in folded:
        end = folded[topic, partition]
        if offset >= end:
            return f"no record {where} yet: this partition is folded up to, without, offset {end}."
        return (
            f"no record {where}: it is a transaction's marker, came before this partition was first "
            "folded, or its month has been archived."
        )
    topics = sorted({name for name, _ in folded})
    if topic not in topics:
        known = ", ".join(topics) or "none"
        return f"nothing of a topic {topic} has been folded here. Topics folded here: {known}."
    partitions = ", ".join(str(number) for name, number in folded if name == topic)
    return f"nothing of {topic}/{partition} has been folded. Its folded partitions: {partitions}."
