"""The fold of one partition's batch: raw records in, the rows of one transaction out.

Pure. `decode_all` needs nothing but the records, so it is done once however often the transaction is
tried; `fold` needs what Postgres holds of the executions named.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from milepost.projections import link, resource
from milepost.projections.execution import Disposition, Execution, evolve
from milepost.projections.link import LinkRow
from milepost.projections.outgoing import Outgoing, emitted, pack, pack_headers, quarantined
from milepost.projections.resource import ResourceRow
from milepost.projections.tenant import Activity
from milepost.schemas.binding import Event, Record, Rejection, decode
from milepost.schemas.events import Progressed
from milepost.schemas.topics import Topics

# (execution id, tenant): the primary key of `executions`, in its order.
Identity = tuple[str, str]


class Decoded(NamedTuple):
    """A raw record and the event it holds, or why it holds none."""

    record: Record
    event: Event | Rejection


class LogRow(NamedTuple):
    """One row of `event_log`; times in microseconds since 1970."""

    topic: str
    partition: int
    offset: int
    recorded_at: int
    tenant: str | None
    execution_id: str | None
    ordinal: int | None
    type: str | None
    source: str | None
    event_id: str | None
    occurred_at: int | None
    disposition: str
    reason: str | None
    log_lines: int
    key: bytes | None
    headers: bytes
    value: bytes | None
    emitted: list[bytes | None] | None


class Folded(NamedTuple):
    """What one transaction writes, each part in the order of its keys, and what goes out after it."""

    executions: list[tuple[Execution | None, Execution]]  # before and after
    links: list[LinkRow]
    resources: list[ResourceRow]
    activity: list[tuple[str, Activity]]
    log: list[LogRow]
    outgoing: list[Outgoing]


def decode_all(records: Sequence[Record]) -> list[Decoded]:
    """Each record with its event or rejection, in the order of the log."""
    return [Decoded(record, decode(record)) for record in records]


def identities(decoded: Sequence[Decoded]) -> list[Identity]:
    """The executions that a batch touches, in the order in which they are locked."""
    return sorted(
        {(event.execution_id, event.tenant) for _, event in decoded if isinstance(event, Event)}
    )


def fold(decoded: Sequence[Decoded], held: Mapping[Identity, Execution], topics: Topics) -> Folded:
    """Fold a batch into what is held of its executions."""
    current: dict[Identity, Execution] = dict(held)
    log: list[LogRow] = []
    outgoing: list[Outgoing] = []
    for record, event in decoded:
        if isinstance(event, Rejection):
            row, sent = _quarantine(record, event, topics)
        else:
            row, sent = _apply(record, event, held, current, topics)
        log.append(row)
        outgoing += sent
    changes = [
        (held.get(identity), current[identity])
        for identity in sorted(current)
        if current[identity] is not held.get(identity)
    ]
    return settled(changes)._replace(log=log, outgoing=outgoing)


def settled(changes: list[tuple[Execution | None, Execution]]) -> Folded:
    """The rows that these changes of executions, in the order of their keys, call for."""
    links = [row for before, after in changes for row in link.learned(before, after)]
    links.sort()
    rows = [row for before, after in changes for row in resource.changed(before, after)]
    rows.sort(key=lambda row: row[:6])
    return Folded(changes, links, rows, _activity(changes), [], [])


def _apply(
    record: Record,
    event: Event,
    held: Mapping[Identity, Execution],
    current: dict[Identity, Execution],
    topics: Topics,
) -> tuple[LogRow, list[Outgoing]]:
    identity = (event.execution_id, event.tenant)
    before = current.get(identity)
    outcome = evolve(before, event, own=before is not held.get(identity))
    execution = current[identity] = outcome.execution
    sent = [emitted(what, execution, event, topics) for what in outcome.emitted]
    data, (occurred, _, source, event_id) = event.data, event.key
    lines = len(data.log_lines) if type(data) is Progressed and data.log_lines else 0
    row = LogRow(
        record.topic,
        record.partition,
        record.offset,
        event.recorded,
        event.tenant,
        event.execution_id,
        execution.ordinal,
        event.type,
        source,
        event_id,
        occurred,
        outcome.disposition,
        outcome.reason,
        lines,
        record.key,
        pack_headers(record.headers),
        record.value,
        pack(sent) if sent else None,
    )
    return row, sent


def _quarantine(
    record: Record, rejection: Rejection, topics: Topics
) -> tuple[LogRow, list[Outgoing]]:
    sent = [quarantined(record, rejection, topics)]
    reason = f"{rejection.reason}: {rejection.field}: {rejection.message}"
    row = LogRow(
        record.topic,
        record.partition,
        record.offset,
        record.timestamp * 1_000,
        *(None,) * 7,
        Disposition.QUARANTINED,
        # Quoting the record must not bring in what Postgres cannot store.
        reason.encode("utf-8", "replace").decode().replace("\0", "\N{SYMBOL FOR NULL}"),
        0,
        record.key,
        pack_headers(record.headers),
        record.value,
        pack(sent),
    )
    return row, sent


def _activity(
    changes: Sequence[tuple[Execution | None, Execution]],
) -> list[tuple[str, Activity]]:
    tenants: dict[str, Activity] = {}
    for before, after in changes:
        if before is None or before.state != after.state:
            activity = tenants.setdefault(after.tenant, Activity())
            activity.move(before.state if before else None, after)
    return sorted(tenants.items(), key=lambda item: item[0])
