"""Memory and transactions are bounded in bytes, whatever the records hold."""

from collections.abc import Sequence
from typing import Any

import pytest

from milepost.processor import partition, relay
from milepost.processor.partition import Partition
from milepost.processor.relay import Relay
from milepost.processor.transport import Fetched
from milepost.projections.outgoing import Outgoing
from milepost.projections.store import Position
from milepost.schemas.binding import _Draft

LIMIT = 100


@pytest.fixture
def flow() -> list[str]:
    return []


@pytest.fixture
def folding(flow: list[str], monkeypatch: pytest.MonkeyPatch) -> Partition:
    monkeypatch.setattr(partition, "MAX_BYTES", 1_000)
    nothing: Any = None
    position = Position(1, 0, None)
    return Partition(
        "topic", 0, position, nothing, nothing, LIMIT,
        pause=lambda: flow.append("pause"), resume=lambda: flow.append("resume"),
    )  # fmt: skip


def fetched(begin: int, sizes: Sequence[int]) -> Fetched:
    records = [
        _Draft(b"key", bytes(size), [], offset=begin + index) for index, size in enumerate(sizes)
    ]
    return Fetched("topic", 0, begin, begin + len(sizes), records, sum(sizes))


def taken(folding: Partition) -> list[tuple[int, int]]:
    """The batches that are folded: from and next offset."""
    batches = []
    while folding._waiting:
        batch = folding._take()
        assert [one.record.offset for one in batch.decoded] == [
            *range(batch.from_offset, batch.next_offset)
        ]
        batches.append((batch.from_offset, batch.next_offset))
    return batches


def test_few_large_records_pause_fetching(folding: Partition, flow: list[str]) -> None:
    folding.put(fetched(0, [400, 400]))
    assert flow == []
    folding.put(fetched(2, [400]))
    assert flow == ["pause"]
    assert taken(folding) == [(0, 2), (2, 3)]
    assert flow[1] == "resume"
    folding.put(fetched(3, [900]))
    assert flow[1:] == flow.count("resume") * ["resume"]


def test_many_small_records_pause_fetching(folding: Partition, flow: list[str]) -> None:
    folding.put(fetched(0, [1] * LIMIT))
    assert flow == ["pause"]
    assert taken(folding) == [(0, LIMIT)]


def test_a_fetch_of_any_size_is_folded_in_parts(folding: Partition) -> None:
    folding.put(fetched(0, [600, 600, 100, 300, 5_000, 1, 1]))
    assert taken(folding) == [(0, 1), (1, 4), (4, 5), (5, 7)]


async def test_what_is_to_be_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "MAX_PENDING_BYTES", 1_000)
    monkeypatch.setattr(relay, "MAX_TRANSACTION_BYTES", 500)
    nothing: Any = None
    sending = Relay(nothing, "group", nothing, nothing, nothing)
    for offset, size in enumerate([300, 100, 200, 400]):
        await sending.hand_over([Outgoing("topic", None, [], bytes(size))], offset + 1)
    assert not sending._room.is_set()
    assert [handed.next_offset for handed in sending._take()] == [1, 2]
    sending._confirm(2)
    assert sending._room.is_set()
    assert [handed.next_offset for handed in sending._take()] == [3]
