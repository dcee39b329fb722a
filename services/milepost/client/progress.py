"""How far the records of each partition are over, and how often bodies failed. No I/O here."""

import json
from typing import Final

from aiokafka import TopicPartition

Place = tuple[int, str]

# The broker takes 4,096 bytes of text with a committed offset; a count has up to 30.
_MOST_COUNTS: Final = 100


class Progress:
    """The records that this reader has taken since it was given its partitions.

    What may be committed of a partition is all before its first record that is not over. With it go
    the failed attempts of records behind that place, so that a restart does not forget them.
    """

    def __init__(self) -> None:
        self._partitions: dict[TopicPartition, _Partition] = {}
        self._changed: set[TopicPartition] = set()

    def knows(self, partition: TopicPartition) -> bool:
        """Whether `recall` was called for it."""
        return partition in self._partitions

    def recall(self, partition: TopicPartition, text: str) -> None:
        """Begin with a partition; `text` is what was committed with its offset."""
        self._partitions[partition] = _Partition(_counts(text))

    def begin(self, partition: TopicPartition, offset: int) -> None:
        """A record is taken; those of one partition in their order."""
        self._partitions[partition].over.setdefault(offset, False)

    def fail(self, partition: TopicPartition, offset: int) -> int:
        """An attempt at a record failed: how many have by now, before restarts included."""
        failed = self._partitions[partition].failed
        failed[offset] = failed.get(offset, 0) + 1
        self._changed.add(partition)
        return failed[offset]

    def finish(self, partition: TopicPartition, offset: int) -> None:
        """A record is over."""
        held = self._partitions[partition]
        held.over[offset] = True
        held.failed.pop(offset, None)
        while held.over and held.over[first := next(iter(held.over))]:
            del held.over[first]
            held.end = first + 1
        self._changed.add(partition)

    def held(self, partition: TopicPartition) -> int:
        """How many records are taken, over or not, that no commit can pass yet."""
        return len(self._partitions[partition].over)

    def places(self) -> dict[TopicPartition, Place]:
        """What is new since `committed`: the offset to commit, and the text that goes with it."""
        places = {one: self._partitions[one].place() for one in self._changed}
        return {one: place for one, place in places.items() if place is not None}

    def committed(self, places: dict[TopicPartition, Place]) -> None:
        """These places are committed."""
        self._changed -= {one for one, place in self.places().items() if places.get(one) == place}


class _Partition:
    def __init__(self, failed: dict[int, int]) -> None:
        self.failed = failed
        self.over: dict[int, bool] = {}
        self.end: int | None = None

    def place(self) -> Place | None:
        first = next(iter(self.over), self.end)
        if first is None:
            return None
        counts = sorted(one for one in self.failed.items() if one[0] >= first)[:_MOST_COUNTS]
        return first, json.dumps({"failed": dict(counts)}) if counts else ""


def _counts(text: str) -> dict[int, int]:
    """Failed attempts by offset. Other programs may have committed texts of their own."""
    try:
        return {int(offset): int(count) for offset, count in json.loads(text)["failed"].items()}
    except (ValueError, TypeError, KeyError, AttributeError):
        return {}
