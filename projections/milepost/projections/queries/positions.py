"""How far the fold is behind the log."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from milepost.projections.queries.records import Connection
from milepost.projections.statements import statement

# Processors report each second; a new owner of a partition needs some.
_STALE_AFTER: Final = timedelta(seconds=30)


class PartitionLag(NamedTuple):
    """How many records the fold of one partition had not folded, and when that was measured.

    Both are None until a processor has reported the end of the partition. `problem` says why it is
    not being folded, None while it is.
    """

    partition: int
    behind: int | None
    measured_at: datetime | None
    problem: str | None


async def lag(connection: Connection, topic: str) -> tuple[PartitionLag, ...]:
    """How far the fold of each partition of `topic` is behind."""
    row = await connection.fetchrow(statement("lag"), topic)
    return rows(*row) if row else ()


def stale(lag: Iterable[PartitionLag], now: datetime) -> list[int]:
    """Partitions whose end was measured, but not lately: no processor reports on them."""
    return [
        one.partition
        for one in lag
        if one.measured_at is not None and now - one.measured_at > _STALE_AFTER
    ]


def rows(*columns: list[Any] | None) -> tuple[PartitionLag, ...]:
    """From the aggregated columns of `lag.sql`, one list each."""
    # Without rows array_agg gives null.
    return tuple(map(PartitionLag, *(column or () for column in columns)))
