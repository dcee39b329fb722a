"""A header name that is not UTF-8 stops nothing."""

import json

import asyncpg
import pytest
from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.structs import TopicPartition

from conftest import StartService
from milepost.processor import lenient
from milepost.schemas.binding import Encoded
from milepost.settings import Settings
from processor.history import execution, send
from processor.raw import NOT_UTF8, batch, send_raw
from signals import following, read


def named(record: Encoded, name: str) -> Encoded:
    return record._replace(headers=[*record.headers, (name, b"x")])


def parsed(data: bytes, begin: int) -> list[tuple[int, str]]:
    """Offset and last header's name of each record from `begin` on."""
    tp = TopicPartition("topic", 0)
    records = lenient.PartitionRecords(
        tp, lenient.KeptRecords(data), [], begin, None, None, True, fetcher.READ_COMMITTED
    )
    found = [(record.offset, record.headers[-1][0]) for record in records]
    assert records.next_fetch_offset == found[-1][0] + 1
    return found


@pytest.mark.parametrize("compressed", [False, True])
def test_what_is_left_of_a_fetch_is_read_once_and_in_order(compressed: bool) -> None:
    plain = Encoded(b"key", b"value", [])
    data = b"".join(
        batch([named(plain, name) for name in names], offset=offset, compressed=compressed)
        for offset, names in ((0, "abc"), (3, ["d", f"e{NOT_UTF8}", "f"]), (6, [NOT_UTF8, "h"]))
    )
    assert parsed(data, 1) == [
        (1, "b"), (2, "c"), (3, "d"), (4, r"e\xff\xfe"), (5, "f"), (6, r"\xff\xfe"), (7, "h"),
    ]  # fmt: skip


def test_what_is_corrupt_stays_so() -> None:
    data = bytearray(batch([named(Encoded(b"key", b"value", []), NOT_UTF8)]))
    data[-1] ^= 1
    with pytest.raises(CorruptRecordException):
        parsed(bytes(data), 0)


async def test_it_is_folded_or_quarantined_like_any_other(
    settings: Settings, service: StartService
) -> None:
    requested, started, *rest = execution("acme", "one")
    garbage = Encoded(b"\xff", b"\x00garbage", [])
    await service("processor")
    await send(settings, [requested], partition=1)
    bad = [named(started, f"x-{NOT_UTF8}"), named(garbage, f"y-{NOT_UTF8}")]
    await send_raw(settings, batch(bad), partition=1)
    await send(settings, rest, partition=1)
    async with following(settings) as positions:
        await positions.reach_end()
    connection = await asyncpg.connect(settings.dsn)
    [[state, ordinal]] = await connection.fetch("SELECT state, ordinal FROM executions")
    assert (state, ordinal) == ("succeeded", 5)
    [row] = await connection.fetch("SELECT * FROM event_log WHERE disposition = 'quarantined'")
    assert (row["offset"], row["value"]) == (2, b"\x00garbage")
    assert json.loads(row["headers"]) == [[r"y-\xff\xfe", "x"]]
    await connection.close()
    # Any client can read what went out.
    [record] = await read(settings, settings.topics.quarantine, until=bool)
    assert record.headers[0] == (r"y-\xff\xfe", b"x")
