"""The processor as a process: from records on the events topic to rows and outgoing records."""

import asyncio
import json
from collections import Counter
from datetime import UTC, datetime

import asyncpg
import pytest

from conftest import StartService
from milepost.processor import topics
from milepost.schemas.binding import Encoded
from milepost.settings import Settings
from processor.history import execution, send
from signals import DEADLINE, following, read


@pytest.fixture(scope="module")
async def folded(settings: Settings, service: StartService) -> asyncpg.Connection:
    """Two executions and every kind of bad record, folded."""
    good = execution("acme", "one") + execution("globex", "two", fails=True)
    await send(settings, bad_records(good) + good)
    await service("processor")
    async with following(settings) as positions:
        await positions.reach_end()
    return await asyncpg.connect(settings.dsn)


def bad_records(good: list[Encoded]) -> list[Encoded]:
    """Undecodable, of an unknown type, with a missing field, of a tenant that does not match."""
    requested, started = good[0], good[1]

    def changed(record: Encoded, **headers: bytes) -> Encoded:
        return record._replace(headers=[*(dict(record.headers) | headers).items()])

    return [
        Encoded(b"\xff", b"\x00garbage", []),
        changed(started, ce_type=b"milepost.execution.exploded.v1"),
        started._replace(value=b'{"details": {}}'),
        changed(requested, ce_tenantid=b"globex"),
    ]


async def test_events_become_executions(folded: asyncpg.Connection) -> None:
    rows = await folded.fetch("SELECT tenant, state, version, ordinal, operation FROM executions")
    assert sorted(map(tuple, rows)) == [
        ("acme", "succeeded", 5, 5, "provision"),
        ("globex", "failed", 5, 5, "provision"),
    ]


async def test_bad_records_are_quarantined_with_a_reason_and_the_partition_goes_on(
    folded: asyncpg.Connection,
) -> None:
    rows = await folded.fetch("SELECT disposition, reason FROM event_log WHERE tenant IS NULL")
    reasons = sorted(row["reason"].split(":")[0] for row in rows)
    assert {row["disposition"] for row in rows} == {"quarantined"}
    assert reasons == ["id_mismatch", "missing", "missing", "unknown_type"]
    assert await folded.fetchval("SELECT count(*) FROM event_log WHERE tenant IS NOT NULL") == 10


async def test_the_quarantine_topic_has_the_raw_bytes_with_reason_and_origin(
    folded: asyncpg.Connection, settings: Settings
) -> None:
    records = await read(settings, settings.topics.quarantine, until=lambda found: len(found) >= 4)
    assert len(records) == 4
    garbage = next(record for record in records if record.value == b"\x00garbage")
    headers = dict(garbage.headers)
    assert (garbage.key, headers["milepost-reason"]) == (b"\xff", b"missing")
    topic, partition, offset = headers["milepost-origin"].decode().split("/")
    found = await folded.fetchval(
        'SELECT value FROM event_log WHERE topic = $1 AND partition = $2 AND "offset" = $3',
        topic, int(partition), int(offset),
    )  # fmt: skip
    assert found == garbage.value


async def test_one_completion_and_one_command_for_each_execution(
    folded: asyncpg.Connection, settings: Settings
) -> None:
    names = settings.topics
    outgoing = await read(
        settings,
        names.commands,
        f"{names.prefix}succeeded.v1",
        f"{names.prefix}failed.v1",
        until=lambda found: len(found) >= 4,
    )
    assert Counter((record.topic, json.loads(record.value)["tenant"]) for record in outgoing) == {
        (names.commands, "acme"): 1,
        (names.commands, "globex"): 1,
        (f"{names.prefix}succeeded.v1", "acme"): 1,
        (f"{names.prefix}failed.v1", "globex"): 1,
    }


async def test_the_committed_offset_means_folded_and_relayed(
    folded: asyncpg.Connection, settings: Settings
) -> None:
    rows = await folded.fetch("SELECT partition, next_offset FROM positions")
    positions = {row["partition"]: row["next_offset"] for row in rows}
    async with (
        topics.connected(settings) as admin,
        asyncio.timeout(DEADLINE),
    ):
        committed: dict[int, int] = {}
        # It follows within a second, and the broker tells nobody when it does.
        while committed != positions:
            offsets = await admin.list_consumer_group_offsets(settings.consumer_group)
            committed = {tp.partition: offset.offset for tp, offset in offsets.items()}


async def test_three_times_and_where_the_record_is(folded: asyncpg.Connection) -> None:
    body = json.loads(
        await folded.fetchval("SELECT body::text FROM executions WHERE tenant = 'acme'")
    )
    _, key, reported, recorded, partition, offset = body["transitions"]["succeeded"]
    row = await folded.fetchrow(
        'SELECT * FROM event_log WHERE partition = $1 AND "offset" = $2', partition, offset
    )
    assert row is not None
    assert row["type"] == "milepost.execution.succeeded.v1"
    assert row["recorded_at"] == datetime.fromtimestamp(recorded / 1e6, UTC)
    assert row["occurred_at"] == datetime.fromtimestamp(key[0] / 1e6, UTC)
    assert key[0] == reported
