"""What has left the log for the files of archived months."""

from typing import NamedTuple

from milepost.projections.queries.changes import Vector
from milepost.projections.queries.records import Connection
from milepost.projections.statements import statement


class ArchivedMonth(NamedTuple):
    """A month (`2019-08`) that is in a file; its SHA-256 in hexadecimal."""

    month: str
    file: str
    sha256: str


class ArchivedPart(NamedTuple):
    """How many records of an execution are in archived months, and those that they may be in."""

    records: int
    months: list[ArchivedMonth]


async def archived_part(
    connection: Connection, execution_id: str, tenant: str
) -> ArchivedPart | None:
    """What of an execution has left the log; None where nothing has."""
    rows = await connection.fetch(statement("retention/archived_part"), execution_id, tenant)
    if not rows:
        return None
    months = [ArchivedMonth(f"{row[1]:%Y-%m}", row[2], row[3]) for row in rows]
    return ArchivedPart(rows[0]["records"], months)


async def archived_place(
    connection: Connection, topic: str, partition: int, offset: int
) -> ArchivedMonth | None:
    """The archived month in which a record would be; None where none spans its offset."""
    row = await connection.fetchrow(statement("retention/archived_place"), topic, partition, offset)
    return None if row is None else ArchivedMonth(f"{row[0]:%Y-%m}", row[1], row[2])


async def archived_beyond(connection: Connection, topic: str, since: Vector) -> list[int]:
    """The partitions of which records beyond these positions have left the log."""
    rows = await connection.fetch(statement("retention/archived_up_to"), topic)
    return [partition for partition, last in rows if last >= since.get(partition, 0)]
