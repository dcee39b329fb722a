"""Files that records are kept in: gzip of JSON lines, each chained to the one before it.

The first line is a header, the last one a trailer with the counts. Every line ends with `chain`, the
SHA-256 of the chain of the line before (64 zeros before the first) and of its own text up to there. So
a line that was changed, added, removed or moved is found. The same lines give the same bytes.
"""

import gzip
import hashlib
import os
import zlib
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

import orjson

from milepost.projections.outgoing import pack_headers, unpack_headers
from milepost.projections.view import to_json

VERSION: Final = 1
GENESIS: Final = b"0" * 64
_MARK: Final = b',"chain":"'
_END: Final = b'"}'
_SUFFIX: Final = len(_MARK) + len(GENESIS) + len(_END)
# Of one line: a record of a megabyte and what it sent out, in base64.
_LONGEST: Final = 64 * 1024 * 1024

Document = dict[str, Any]


class Written(NamedTuple):
    """A finished file: its SHA-256 and that of its lines, in hexadecimal, and what is in it by kind."""

    sha256: str
    chain: str
    counts: dict[str, int]


class Line(NamedTuple):
    """A line as it is: its place from 1, what it says, its chain, and what is wrong with it.

    `document` and `chain` are None where they cannot be read.
    """

    number: int
    document: Document | None
    chain: str | None
    problems: list[str]


def create(path: Path) -> BinaryIO:
    """A file to write that nobody else may read: it has the records of tenants. Raises OSError."""
    path.unlink(missing_ok=True)
    return open(path, "wb", opener=partial(os.open, mode=0o600))


class Writer:
    """Writes one file beside its place; `finish` moves it there."""

    def __init__(self, path: Path, header: Mapping[str, Any]) -> None:
        self._path = path
        self._beside = path.with_name(f"{path.name}.part")
        self._file = create(self._beside)
        # No name and no time of its own: the same lines give the same bytes.
        self._gzip = gzip.GzipFile("", "wb", 6, self._file, mtime=0)
        self._chain = GENESIS
        self._lines = 0
        self.counts: dict[str, int] = {}
        self._write("header", {"version": VERSION, **header})

    def add(self, kind: str, document: Mapping[str, Any]) -> None:
        """Write one line. Raises OSError."""
        self.counts[kind] = self.counts.get(kind, 0) + 1
        self._write(kind, document)

    def finish(self) -> Written:
        """Write the trailer and put the file in its place, on the disk for good. Raises OSError."""
        self._write("trailer", {"counts": self.counts})
        self._gzip.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        put(self._beside, self._path)
        return Written(sha256(self._path), self._chain.decode(), self.counts)

    def close(self) -> None:
        """Leave nothing of an unfinished file; a finished one stays."""
        self._file.close()
        self._beside.unlink(missing_ok=True)

    def _write(self, kind: str, document: Mapping[str, Any]) -> None:
        text = to_json({"line": self._lines + 1, "kind": kind, **document})[:-1]
        self._chain = _link(self._chain, text)
        self._gzip.write(b"".join((text, _MARK, self._chain, _END, b"\n")))
        self._lines += 1


def put(beside: Path, path: Path) -> None:
    """Give a complete file its name; both are on the disk when this returns."""
    beside.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def record(row: Mapping[str, Any]) -> Document:
    """The document of a row of `event_log`; bytes are base64, times RFC 3339."""
    headers = [(name, _encoded(value)) for name, value in unpack_headers(row["headers"])]
    emitted = row["emitted"]
    return {
        **row,
        "key": _encoded(row["key"]),
        "headers": headers,
        "value": _encoded(row["value"]),
        "occurred_at": _time(row["occurred_at"]),
        "recorded_at": _time(row["recorded_at"]),
        "emitted": None if emitted is None else [_encoded(part) for part in emitted],
        "sha256": row["sha256"].hex(),
    }


class Raw(NamedTuple):
    """The raw record of a document; `headers` packed."""

    topic: str
    partition: int
    offset: int
    recorded_at: datetime
    key: bytes | None
    headers: bytes
    value: bytes | None


def raw(document: Document) -> Raw:
    """The raw record that `record` made a document of. Raises KeyError, TypeError or ValueError."""
    headers = [(name, _decoded(value)) for name, value in document["headers"]]
    return Raw(
        document["topic"], document["partition"], document["offset"],
        datetime.fromisoformat(document["recorded_at"]), _decoded(document["key"]),
        pack_headers(headers), _decoded(document["value"]),
    )  # fmt: skip


def raw_sha256(found: Raw) -> str:
    """What the column `sha256` of `event_log` says of a raw record, in hexadecimal."""
    digest = hashlib.sha256()
    for part in (found.key, found.headers, found.value):
        length = -1 if part is None else len(part)
        digest.update(length.to_bytes(4, "big", signed=True) + (part or b""))
    return digest.hexdigest()


def lines(path: Path) -> Iterator[Line]:
    """The lines of a file and what is wrong with each; memory does not grow with it. Raises OSError.

    Where it cannot be read any further, the last line has no document and says so.
    """
    with path.open("rb") as file, gzip.GzipFile(fileobj=file) as unpacked:
        chain = _Chain()
        number = 0
        while True:
            number += 1
            try:
                text = unpacked.readline(_LONGEST)
            except (EOFError, zlib.error, gzip.BadGzipFile) as error:
                yield Line(
                    number, None, None, [f"cannot be read from here on, it is no gzip: {error}"]
                )
                return
            if not text:
                return
            yield _line(number, text, chain)


class _Chain:
    """What the next line is to be chained to, and its number."""

    def __init__(self) -> None:
        self.before: set[bytes] | None = {GENESIS}
        self.expected = 1


def _line(number: int, text: bytes, chain: _Chain) -> Line:
    body, told = text[: -_SUFFIX - 1], text[-_SUFFIX - 1 :]
    if not (told.startswith(_MARK) and told.endswith(_END + b"\n")):
        # Of the one after it nobody can say what it was chained to.
        chain.before, chain.expected = None, chain.expected + 1
        return Line(number, None, None, ["changed: it is no line of such a file, or was cut off"])
    says = told[len(_MARK) : -len(_END) - 1]
    own = says.decode("ascii", "replace")
    try:
        document = orjson.loads(body + b"}")
        if not isinstance(document, dict) or not isinstance(document.get("line"), int):
            raise ValueError
    except ValueError:
        chain.before, chain.expected = {says}, chain.expected + 1
        return Line(number, None, own, ["changed: it is no JSON object"])
    problems = []
    found: int = document["line"]
    if chain.before is None:
        follows = found == chain.expected
    else:
        follows = any(_link(before, body) == says for before in chain.before)
    if not follows and found == chain.expected:
        problems.append("changed: its text is not the one that was chained")
    elif not follows:
        problems.append(_misplaced(found, chain.expected))
    # Whichever of the two the next one is chained to: it is not to blame for this one.
    chain.before = {says, *(_link(before, body) for before in chain.before or ())}
    chain.expected = found + 1
    return Line(number, document, own, problems)


def _misplaced(found: int, expected: int) -> str:
    if found > expected:
        last = f" to {found - 1}" if found - 1 > expected else ""
        return (
            f"changed or moved, or missing before it: line {expected}{last} (this is line {found})"
        )
    return f"added, moved or changed: it is line {found}, line {expected} was to come"


def _link(before: bytes, text: bytes) -> bytes:
    return hashlib.sha256(before + text).hexdigest().encode()


def _time(value: datetime | None) -> str | None:
    return None if value is None else to_json(value)[1:-1].decode()


def _encoded(value: bytes | None) -> str | None:
    return None if value is None else b64encode(value).decode()


def _decoded(text: str | None) -> bytes | None:
    return None if text is None else b64decode(text, validate=True)
