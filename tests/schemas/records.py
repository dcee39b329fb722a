"""Records as aiokafka hands them over."""

from typing import NamedTuple

from milepost.schemas.binding import Headers


class Record(NamedTuple):
    """A record at a place in the events topic; `timestamp` in milliseconds since 1970."""

    key: bytes | None
    value: bytes | None
    headers: Headers
    topic: str = "milepost.executions.events.v1"
    partition: int = 3
    offset: int = 42
    timestamp: int = 1_768_469_400_500
