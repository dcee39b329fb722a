"""Records that were valid once, spoilt at random: by bytes, in the JSON, in headers and key."""

import json
from collections.abc import Callable, Iterator
from random import Random
from typing import Any, Final

from milepost.schemas.binding import STRUCTURED, Encoded
from milepost.schemas.examples import structured
from projections.reports import history
from projections.runs import Record, Run

_BYTES: Final = (
    b"\x00", b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\\u0000", b"\\ud800", b'"', b"\\", b"{", b"}",
    b"[", b"]", b",", b"\xef\xbb\xbf", b"e999", b"-", b"NaN", b"\n", b"\xf4\x90\x80\x80",
)  # fmt: skip
_VALUES: Final[tuple[Any, ...]] = (
    None, True, False, 0, -1, 2**63 - 1, 2**63, -(2**63) - 1, 10**400, 0.1, 1e308, -0.0,
    float("inf"), float("nan"), "", " ", "\0", "a\0b", "\ud800", "\u202e", "\U0010ffff", "x" * 600,
    "y" * 70_000, "null", "<huge>", "1969-12-31T23:59:59Z", "2200-01-01T00:00:00Z", "2026-02-30T00:00:00Z",
    "2026-01-01T00:00:00", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", [], {}, [[]],
    [None] * 1_100, {"": 0}, {"a\0": 1}, {"x" * 600: 1}, {"\ud800": 1},
)  # fmt: skip
_HEADERS: Final[tuple[bytes | None, ...]] = (
    None, b"", b"\x00", b"\xff\xfe", b"\xed\xa0\x80", b" ", b"1.0", b"2.0", b"a" * 600, b"9" * 25,
    b"-1", b"acme", b"../acme", b"application/json; charset=utf-8", STRUCTURED, STRUCTURED + b";x",
    b"text/plain", b"2026-01-01T00:00:00+99:99", b"2026-01-01 00:00:00z", b"00000000-0000",
)  # fmt: skip


def valid(random: Random) -> Iterator[Record]:
    """Reports of executions of a few tenants, for ever."""
    while True:
        run = Run(tenant=f"tenant-{random.randrange(5)}", key=f"key-{random.getrandbits(32)}")
        for record in history(random, run, ends=random.choice([1, 3])):
            yield _structured(record) if random.random() < 0.3 else record


def spoilt(random: Random, record: Record) -> Record:
    """The record after one to three changes; most are no events any more."""
    for _ in range(random.choice([1, 1, 1, 2, 3])):
        record = random.choice(_CHANGES)(random, record)
    return record


def _structured(record: Record) -> Record:
    headers = [(name, value or b"") for name, value in record.headers]
    key, value, headers = structured(Encoded(record.key or b"", record.value or b"", headers))
    return record._replace(key=key, value=value, headers=headers)


def _bytes(random: Random, record: Record) -> Record:
    value = bytearray(record.value or b"")
    at = random.randrange(len(value) + 1)
    match random.randrange(4):
        case 0:
            value[at : at + random.randrange(4)] = random.choice(_BYTES)
        case 1:
            value[at : at + 1] = random.randbytes(random.randrange(1, 5))
        case 2:
            del value[at:]
        case _:
            value[at:at] = value[random.randrange(len(value) + 1) :]
    return record._replace(value=bytes(value))


def _json(random: Random, record: Record) -> Record:
    """Another value somewhere, or the same under another name."""
    try:
        document = json.loads(record.value or b"")
    except (ValueError, RecursionError):
        return _bytes(random, record)
    places = list(_places(document))
    if not places:
        return _bytes(random, record)
    parent, name = random.choice(places)
    match random.randrange(4):
        case 0:
            del parent[name]
        case 1 if isinstance(parent, dict):
            parent[random.choice(["occurred_at", "resources", "data", "id", "x"])] = parent[name]
        case _:
            parent[name] = random.choice(_VALUES)
    # json writes NaN and lone surrogates, which other libraries refuse; but no such integer.
    text = json.dumps(document, ensure_ascii=random.random() < 0.5).replace('"<huge>"', "9" * 5_000)
    return record._replace(value=text.encode(errors="surrogatepass"))


def _places(document: Any) -> Iterator[tuple[Any, Any]]:
    names = (
        document if isinstance(document, dict)
        else range(len(document)) if isinstance(document, list)
        else ()
    )  # fmt: skip
    for name in names:
        yield document, name
        yield from _places(document[name])


def _nested(random: Random, record: Record) -> Record:
    """Deeper than anybody reads."""
    depth = random.choice([50, 300, 2_000, 100_000])
    deep = b"[" * depth + b"]" * depth
    value = record.value or b""
    at = value.find(b":") + 1
    return record._replace(value=value[:at] + deep + b"," + value[at:])


def _header(random: Random, record: Record) -> Record:
    headers = list(record.headers)
    at = random.randrange(len(headers)) if headers else 0
    match random.randrange(4) if headers else 3:
        case 0:
            del headers[at]
        case 1:
            headers.insert(random.randrange(len(headers)), headers[at])
        case 2:
            headers[at] = (headers[at][0], random.choice(_HEADERS))
        case _:
            name = random.choice(
                ["ce_sequence", "ce_traceparent", "ce_id", "content-type", "", "\0"]
            )
            headers.append((name, random.choice(_HEADERS)))
    return record._replace(headers=headers)


def _key(random: Random, record: Record) -> Record:
    keys = (None, b"", b"\xff", b"\0", b"other", (record.key or b"").upper())
    return record._replace(key=random.choice(keys))


def _empty(random: Random, record: Record) -> Record:
    return record._replace(value=random.choice([None, b"", b"null", b"[]", b"0", b'"']))


_CHANGES: Final[tuple[Callable[[Random, Record], Record], ...]] = (
    *(_bytes,) * 4, *(_json,) * 8, *(_header,) * 4, _nested, _key, _empty,
)  # fmt: skip
