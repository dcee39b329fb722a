"""Raw records as they are stored, and the connection that everything here works on."""

from datetime import datetime
from typing import TypeAlias

import asyncpg

from milepost.projections.outgoing import unpack_headers
from milepost.schemas.binding import Headers, microseconds

# asyncpg-stubs makes both generic in the record class.
Connection: TypeAlias = (
    "asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
)


class StoredRecord:
    """A record as stored: `headers` packed, the time a datetime."""

    def __init__(
        self,
        topic: str,
        partition: int,
        offset: int,
        recorded_at: datetime,
        key: bytes | None,
        headers: bytes,
        value: bytes | None,
    ) -> None:
        self.topic = topic
        self.partition = partition
        self.offset = offset
        self.timestamp = microseconds(recorded_at) // 1_000
        self.key = key
        self.headers: Headers = unpack_headers(headers)
        self.value = value
