"""Times as people give them to a command."""

from datetime import UTC, datetime, timedelta

# A time, or how long ago.
When = timedelta | datetime


def meant(when: When | None) -> datetime | None:
    """The time that is meant, aware; one without an offset is UTC."""
    if isinstance(when, timedelta):
        return datetime.now(UTC) - when
    return when if when is None or when.tzinfo is not None else when.replace(tzinfo=UTC)
