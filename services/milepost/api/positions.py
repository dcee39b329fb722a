"""The ids of streamed events: a vector of positions, `partition:offset` of each, as text."""

import re
from collections.abc import Sequence
from typing import Final

from milepost.api.problems import EVENT_ID_EXPIRED, INVALID_EVENT_ID, Problem
from milepost.projections.queries.changes import Vector

# What a vector of no partition at all looks like: an empty id would mean that there is none.
_NOTHING: Final = "-"
_VECTOR: Final = re.compile(r"[0-9]{1,9}:[0-9]{1,18}(,[0-9]{1,9}:[0-9]{1,18})*")


def event_id(vector: Vector) -> str:
    """The id that says that everything below these positions has been sent."""
    places = (f"{partition}:{offset}" for partition, offset in sorted(vector.items()))
    return ",".join(places) or _NOTHING


def vector(event_id: str) -> Vector:
    """What `event_id` was made of. Raises Problem (400) where it is none."""
    if event_id == _NOTHING:
        return {}
    if not _VECTOR.fullmatch(event_id):
        raise _refused("it is not one of ours")
    places = [place.split(":") for place in event_id.split(",")]
    found = {int(partition): int(offset) for partition, offset in places}
    if len(found) < len(places):
        raise _refused("it names a partition twice")
    return found


def check(since: Vector, folded: Vector) -> None:
    """Raise Problem (400) where `since` is beyond what is folded: it belongs to another log."""
    for partition, offset in since.items():
        if offset > folded.get(partition, -1):
            raise _refused(f"partition {partition} is not folded as far as {offset}")


def check_kept(archived: Sequence[int]) -> None:
    """Raise Problem (410) where there are partitions of which records since have left the log."""
    if archived:
        places = ", ".join(map(str, archived))
        raise Problem(
            EVENT_ID_EXPIRED,
            f"Last-Event-ID: records after it, of partition {places}, are in months that were archived;"
            " start again without it: what is in flight comes first.",
        )


def within(inner: Vector, outer: Vector) -> bool:
    """Whether everything below `inner` is below `outer` too."""
    return all(offset <= outer.get(partition, 0) for partition, offset in inner.items())


def _refused(why: str) -> Problem:
    return Problem(INVALID_EVENT_ID, f"Last-Event-ID: {why}; start again without it.")
