"""Whether the broker's records are those that Postgres says were folded, and what was sent out of them.

Nothing is guessed: where they disagree, a partition waits for people.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final, NamedTuple

from faust.types import TP

from milepost.processor.reader import Reader
from milepost.projections.store import LastFolded

# How the last folded record below an offset is found: topic, partition, offset.
FindLast = Callable[[str, int, int], Awaitable[LastFolded | None]]

_RESTART: Final = "Then restart the processors."


class Disagreement(NamedTuple):
    """What is wrong with a partition, and the remedy."""

    found: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.found}. {self.remedy}"


async def disagreements(
    reader: Reader, last_folded: FindLast, offsets: Mapping[TP, int], beginnings: Mapping[TP, int]
) -> dict[TP, Disagreement]:
    """Where the broker does not hold the next `offsets` to fold, or the record before is another one.

    Raises what the reader and `last_folded` raise.
    """
    ends = await reader.ends(offsets)
    found = {
        tp: disagreement
        for tp, offset in offsets.items()
        if (disagreement := _out_of_range(tp, offset, beginnings[tp], ends[tp]))
    }
    folded = {}
    for tp, offset in offsets.items():
        last = await last_folded(tp.topic, tp.partition, offset)
        if last is not None and tp not in found and last.offset >= beginnings[tp]:
            folded[tp] = last
    records = await reader.records({tp: last.offset for tp, last in folded.items()})
    for tp, last in folded.items():
        if not last.is_(records.get(tp)):
            found[tp] = _another_record(tp, last.offset)
    return found


def known_relayed(
    next_offset: int, relayed: int | None, group_offset: int | None, beginning: int
) -> int | None:
    """Up to where everything was relayed: never lower than what either side knows.

    None where nobody knows, although something was folded.
    """
    known = [offset for offset in (group_offset, relayed) if offset is not None]
    if known:
        return max(known)
    return None if next_offset > beginning else next_offset


def relay_unknown(tp: TP, next_offset: int) -> Disagreement:
    """What is wrong where `known_relayed` is None."""
    return Disagreement(
        f"{tp.topic}/{tp.partition}: folded up to {next_offset}, but neither the group's committed"
        " offset nor positions.relayed says what was sent out",
        "Set positions.relayed to the offset up to which completions are known to be sent."
        f" {_RESTART}",
    )


def _out_of_range(tp: TP, offset: int, beginning: int, end: int) -> Disagreement | None:
    if beginning <= offset <= end:
        return None
    expected = f"{tp.topic}/{tp.partition}: Postgres expects offset {offset}"
    if offset > end:
        return Disagreement(
            f"{expected}, the broker ends at {end}: the topic was made anew or the broker lost records",
            "Restore the topic, or set positions.next_offset once you know what is missing."
            f" {_RESTART}",
        )
    return Disagreement(
        f"{expected}, the broker begins at {beginning}: retention has passed records that were never"
        " folded, or Postgres is an older backup",
        f"Restore Postgres, or accept the loss by setting positions.next_offset to {beginning}."
        f" {_RESTART}",
    )


def _another_record(tp: TP, offset: int) -> Disagreement:
    return Disagreement(
        f"{tp.topic}/{tp.partition}: the record at offset {offset} is not the one that Postgres has"
        " folded from there: the topic was made anew, or Postgres was restored from another one",
        "Restore the topic or Postgres, or use another topic prefix and consumer group for the new"
        f" topics. {_RESTART}",
    )
