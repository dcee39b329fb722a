"""The records of one execution, and the log lines that they brought."""

from datetime import datetime
from typing import NamedTuple

import asyncpg

from milepost.projections.queries.records import Connection, StoredRecord
from milepost.projections.statements import statement
from milepost.schemas.binding import Event, decode
from milepost.schemas.events import Progressed
from milepost.schemas.values import LogLine


class LoggedEvent(NamedTuple):
    """What became of one raw record of an execution."""

    ordinal: int
    topic: str
    partition: int
    offset: int
    type: str
    source: str
    event_id: str
    disposition: str
    reason: str | None
    occurred_at: datetime
    recorded_at: datetime


class LoggedLine(NamedTuple):
    """One log line: which (from 0) of the lines of the event whose record has this ordinal."""

    ordinal: int
    number: int
    event: Event
    line: LogLine


async def execution_events(
    connection: Connection, execution_id: str, tenant: str, after: int, limit: int
) -> list[LoggedEvent]:
    """The records of an execution with an ordinal above `after`, in the order of folding."""
    rows = await connection.fetch(statement("execution_events"), execution_id, tenant, after, limit)
    return [LoggedEvent(*row) for row in rows]


async def execution_logs(
    connection: Connection, execution_id: str, tenant: str, after: tuple[int, int], limit: int
) -> list[LoggedLine]:
    """At most `limit` log lines after the line (ordinal, number), in the order of folding."""
    # One record more than lines: those up to `after` in the first record do not count.
    rows = await connection.fetch(
        statement("execution_logs"), execution_id, tenant, after[0], limit + after[1] + 1
    )
    return [line for line in _lines(rows) if (line.ordinal, line.number) > after][:limit]


async def last_logs(
    connection: Connection, execution_id: str, tenant: str, limit: int
) -> list[LoggedLine]:
    """The last log lines, at most `limit`, in the order of folding."""
    rows = await connection.fetch(statement("execution_logs_last"), execution_id, tenant, limit)
    return _lines(rows)[-limit:]


def _lines(rows: list[asyncpg.Record]) -> list[LoggedLine]:
    return [
        LoggedLine(row["ordinal"], number, event, line)
        for row in rows
        if isinstance(event := decode(StoredRecord(*row[1:])), Event)
        and isinstance(event.data, Progressed)
        for number, line in enumerate(event.data.log_lines or ())
    ]
