"""Poison: whatever a record holds, it gets one row and one disposition, and its partition goes on."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from random import Random
from typing import Final

import asyncpg
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.structs import ConsumerRecord

from conftest import StartService
from milepost.projections.execution import Disposition
from milepost.schemas.binding import Encoded, Headers
from milepost.settings import Settings
from processor.history import execution
from signals import following, read, read_all

MUTATIONS: Final = 2_000
SEED: Final = 4
LARGE: Final = 900_000
GOOD: Final = execution("acme", "poisoned")
STARTED: Final = GOOD[1]

Raw = tuple[bytes | None, bytes | None, Headers]


def told(members: str, record: Encoded = STARTED) -> Raw:
    """A `started` whose data has these members, as written."""
    value = f'{{"occurred_at": "2026-11-01T00:00:01Z"{members and ", "}{members}}}'
    return record.key, value.encode("utf-8", "surrogatepass"), record.headers


def headed(**headers: bytes | None) -> Raw:
    """A `started` with these headers instead of its own."""
    changed: dict[str, bytes | None] = {**dict(STARTED.headers), **headers}
    return STARTED.key, STARTED.value, [*changed.items()]


# What is wrong, the record, and the beginning of the reason; None: nothing is, it is an event.
POISON: Final[dict[str, tuple[Raw, str | None]]] = {
    "nul": (told(r'"details": {"a": "\u0000"}'), "invalid: details"),
    "nul in a name": (told(r'"details": {"\u0000": 1}'), "invalid: details"),
    "raw nul": (told('"details": {"a": "\0"}'), "undecodable: value"),
    "nul in a header": (headed(ce_id=b"a\0b"), "invalid: id"),
    "lone surrogate": (told(r'"details": {"a": "\ud800"}'), ""),
    "lone surrogate in a name": (told(r'"details": {"\udfff": 1}'), ""),
    "surrogate as bytes": (told('"details": {"a": "\ud800"}'), "undecodable: value"),
    "1e400": (told('"details": {"a": 1e400}'), "invalid: details"),
    "-1e400": (told('"details": {"a": [-1e400]}'), "invalid: details"),
    "NaN": (told('"details": {"a": NaN}'), ""),
    "2**63": (told(f'"details": {{"a": {2**63}}}'), "invalid: details"),
    "-2**63 - 1": (told(f'"details": {{"a": {-(2**63) - 1}}}'), "invalid: details"),
    "2**63 - 1": (told(f'"details": {{"a": {2**63 - 1}}}'), None),
    "5,000 digits": (told(f'"details": {{"a": {"9" * 5_000}}}'), ""),
    "year 1": (told('"occurred_at": "0001-01-01T00:00:00Z"'), "invalid: occurred_at"),
    "year 9999": (told('"occurred_at": "9999-12-31T23:59:59Z"'), "invalid: occurred_at"),
    "year 1 reported": (headed(ce_time=b"0001-01-01T00:00:00+23:59"), "invalid: time"),
    "year 9999 reported": (headed(ce_time=b"9999-12-31T23:59:59-23:59"), "invalid: time"),
    "10,000 deep": (told(f'"details": {{"a": {"[" * 10_000}{"]" * 10_000}}}'), ""),
    "10,000 deep and no end": (told(f'"details": {"{" * 10_000}'), ""),
    "10,000 deep in structured mode": (
        (STARTED.key, b'{"data":' * 10_000, [("content-type", b"application/cloudevents+json")]),
        "undecodable: value",
    ),
    "900 KB of nothing": ((b"key", b"\xff" * LARGE, []), "missing"),
    "900 KB of one member": (told(f'"details": {{"a": "{"x" * LARGE}"}}'), None),
    "900 KB of members": (told(f'"details": {{"a": [{"1," * (LARGE // 2)}1]}}'), None),
    "900 KB of key": ((b"k" * LARGE, b"{}", []), "missing"),
    "900 KB of header": (headed(other=b"\xff" * LARGE), None),
    "no value": ((STARTED.key, None, STARTED.headers), "empty: value"),
    "empty value": ((STARTED.key, b"", STARTED.headers), "undecodable: value"),
    "no key": ((None, STARTED.value, STARTED.headers), "key_mismatch: key"),
    "nothing": ((None, None, []), "empty: value"),
    "no header": ((STARTED.key, STARTED.value, []), "missing"),
    "header without a value": (headed(ce_type=None), "missing: type"),
    "content type without a value": (headed(**{"content-type": None}), None),
    "foreign header without a value": (headed(other=None), None),
    "repeated header": (
        (STARTED.key, STARTED.value, [*STARTED.headers, ("ce_id", b"2")]),
        "repeated_header: ce_id",
    ),
    "repeated foreign header": (
        (STARTED.key, STARTED.value, [*STARTED.headers, ("x", b"1"), ("x", b"2"), ("x", None)]),
        None,
    ),
    "id that is not UTF-8": (headed(ce_id=b"\xff\xfe"), "undecodable: id"),
    "tenant that is not UTF-8": (headed(ce_tenantid=b"\xff"), "undecodable: tenantid"),
    "type that is not UTF-8": (headed(ce_type=b"\xff"), "unknown_type: type"),
    "time that is not UTF-8": (headed(ce_time=b"\xff"), "invalid: time"),
    "content type that is not UTF-8": (headed(**{"content-type": b"\xff"}), "content_type"),
    "trace that is not UTF-8": (headed(ce_traceparent=b"\xff"), None),
    "foreign header that is not UTF-8": (headed(other=b"\xff\xfe\x00"), None),
    "name without end": (
        (STARTED.key, STARTED.value, [*STARTED.headers, ("n" * 60_000, b"")]),
        None,
    ),
    "empty name": ((STARTED.key, STARTED.value, [*STARTED.headers, ("", b"x")]), None),
}


def mutated(random: Random, record: Encoded) -> Raw:
    """The record with one to three accidents."""
    raw: Raw = record
    for _ in range(random.randint(1, 3)):
        raw = random.choice(ACCIDENTS)(random, *raw)
    return raw


def _in_key(random: Random, key: bytes | None, value: bytes | None, headers: Headers) -> Raw:
    return _changed(random, key), value, headers


def _in_value(random: Random, key: bytes | None, value: bytes | None, headers: Headers) -> Raw:
    return key, _changed(random, value), headers


def _in_header(random: Random, key: bytes | None, value: bytes | None, headers: Headers) -> Raw:
    at = random.randrange(len(headers) or 1)
    changed = [
        (name, _changed(random, held) if index == at else held)
        for index, (name, held) in enumerate(headers)
    ]
    return key, value, changed


def _in_headers(random: Random, key: bytes | None, value: bytes | None, headers: Headers) -> Raw:
    """One is lost, comes twice, loses its value or gets another's."""
    if not headers:
        return key, value, headers
    [(name, held), (_, other)] = random.choices(headers, k=2)
    rest = [header for header in headers if header[0] != name]
    put: list[list[tuple[str, bytes | None]]] = [
        [],
        [(name, held)] * 2,
        [(name, None)],
        [(name, other)],
        [(name.upper(), held)],
    ]
    return key, value, [*rest, *random.choice(put)]


ACCIDENTS: Final[list[Callable[..., Raw]]] = [
    _in_value, _in_value, _in_header, _in_headers, _in_key,
]  # fmt: skip


def _changed(random: Random, held: bytes | None) -> bytes | None:
    """Bytes lost, changed, put in or repeated."""
    if not held:
        return random.choice([None, b"", b"\0"])
    begin = random.randrange(len(held))
    end = min(len(held), begin + random.choice([0, 1, 1, 2, 20]))
    put = random.choice(
        [
            b"",
            random.randbytes(end - begin),
            b"\0",
            b"\xff",
            b'"',
            b"}",
            b"9" * 30,
            held[begin:end] * 2,
        ]
    )
    return held[:begin] + put + held[end:]


async def send(settings: Settings, records: Sequence[Raw], partition: int) -> None:
    """As `history.send`, but of anything: in batches of our own, for records without key and value."""
    producer = AIOKafkaProducer(
        bootstrap_servers=settings.kafka_bootstrap_servers, max_batch_size=1_048_000
    )
    await producer.start()
    try:
        sent, batch = [], producer.create_batch()
        for key, value, headers in records:
            while batch.append(key=key, value=value, timestamp=None, headers=headers) is None:
                sent.append(
                    await producer.send_batch(batch, settings.topics.events, partition=partition)
                )
                batch = producer.create_batch()
        sent.append(await producer.send_batch(batch, settings.topics.events, partition=partition))
        await asyncio.gather(*sent)
    finally:
        await producer.stop()


@pytest.fixture(scope="module")
async def folded(settings: Settings, service: StartService) -> AsyncIterator[asyncpg.Connection]:
    """Lots of poison in each partition, each followed by the records of a good execution."""
    await service("processor")
    random = Random(SEED)
    poison = [raw for raw, _ in POISON.values()]
    await send(settings, [*poison, *execution("good", "named")], 0)
    for lot in range(8):
        mutations = [mutated(random, random.choice(GOOD)) for _ in range(MUTATIONS // 8)]
        await send(settings, [*mutations, *execution("good", f"lot-{lot}")], lot % 4)
    async with following(settings) as positions:
        await positions.reach_end()
    connection = await asyncpg.connect(settings.dsn)
    yield connection
    await connection.close()


async def test_each_poison_is_called_by_its_name(folded: asyncpg.Connection) -> None:
    rows = await folded.fetch(
        'SELECT reason, disposition FROM event_log WHERE partition = 0 ORDER BY "offset" LIMIT $1',
        len(POISON),
    )
    for (name, (_, reason)), (found, disposition) in zip(POISON.items(), rows, strict=True):
        assert (disposition == "quarantined") == (reason is not None), (name, found)
        assert reason is None or found.startswith(reason), (name, found)


async def test_every_record_is_kept_as_it_is_with_one_disposition(
    folded: asyncpg.Connection, settings: Settings
) -> None:
    rows = await folded.fetch(
        'SELECT partition, "offset", key, headers, value, disposition FROM event_log'
    )
    kept = {(row["partition"], row["offset"]): row for row in rows}
    published = await read_all(settings, settings.topics.events)
    assert len(rows) == len(kept) == len(published) == len(POISON) + MUTATIONS + 9 * len(GOOD)
    for record in published:
        row = kept[record.partition, record.offset]
        headers = [
            (name, None if value is None else value.encode("latin-1"))
            for name, value in json.loads(row["headers"])
        ]
        assert (row["key"], headers, row["value"]) == (record.key, [*record.headers], record.value)
        assert row["disposition"] in set(Disposition)
    assert Counter(row["disposition"] for row in rows)["quarantined"] > MUTATIONS // 2


async def test_the_good_records_after_each_lot_are_folded(folded: asyncpg.Connection) -> None:
    rows = await folded.fetch("SELECT state, ordinal FROM executions WHERE tenant = 'good'")
    assert [tuple(row) for row in rows] == [("succeeded", 5)] * 9


async def test_what_is_quarantined_goes_out_once(
    folded: asyncpg.Connection, settings: Settings
) -> None:
    rows = await folded.fetch(
        "SELECT topic, partition, \"offset\" FROM event_log WHERE disposition = 'quarantined'"
    )
    topic = settings.topics.quarantine
    await read(settings, topic, until=lambda found: len(found) >= len(rows))
    assert Counter(map(origin, await read_all(settings, topic))) == Counter(
        f"{topic}/{partition}/{offset}" for topic, partition, offset in rows
    )


async def test_activity_is_the_count_of_executions(folded: asyncpg.Connection) -> None:
    [[counted, found]] = await folded.fetch(
        "SELECT (SELECT sum(pending + running + succeeded + failed + cancelled)"
        " FROM tenant_activity), (SELECT count(*) FROM executions)"
    )
    assert counted == found


def origin(record: ConsumerRecord) -> str:
    """Where the raw record is; its own headers come first."""
    origins = [value for name, value in record.headers if name == "milepost-origin"]
    return str(origins[-1], "ascii")
