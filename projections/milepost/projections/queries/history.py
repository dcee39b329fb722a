"""The records of one execution, and the log lines that they brought."""

from datetime import datetime
from typing import Final, NamedTuple

import asyncpg

from milepost.projections.queries.records import Connection, StoredRecord
from milepost.projections.statements import statement
from milepost.schemas.binding import Event, decode
from milepost.schemas.events import Progressed
from milepost.schemas.values import LogLine

# Of the records that one page of log lines is taken from: each may have a megabyte of other things.
_LOG_BYTES: Final = 8 * 1024 * 1024


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
) -> tuple[list[LoggedLine], bool]:
    """At most `limit` log lines after the line (ordinal, number), in the order of folding; and whether
    there are more."""
    # One line more; and those up to `after` in the first record do not count.
    wanted = limit + 1 + after[1] + 1
    rows = await connection.fetch(
        statement("execution_logs"), execution_id, tenant, after[0], wanted, _LOG_BYTES
    )
    lines = [line for line in _lines(rows) if (line.ordinal, line.number) > after]
    more = len(lines) > limit or bool(rows and rows[-1]["more"])
    return lines[:limit], more


async def last_logs(
    connection: Connection, execution_id: str, tenant: str, limit: int
) -> list[LoggedLine]:
    """The last log lines, at most `limit` (fewer of large records), in the order of folding."""
    rows = await connection.fetch(
        statement("execution_logs_last"), execution_id, tenant, limit, _LOG_BYTES
    )
    return _lines(rows)[-limit:]


def _lines(rows: list[asyncpg.Record]) -> list[LoggedLine]:
    return [
        LoggedLine(row["ordinal"], number, event, line)
        for row in rows
        if isinstance(event := decode(StoredRecord(*row[1:8])), Event)
        and isinstance(event.data, Progressed)
        for number, line in enumerate(event.data.log_lines or ())
    ]
