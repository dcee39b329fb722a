"""Header names that are not UTF-8 are read as text with escapes: b"ab\\xff" as 'ab\\\\xff'.

A broker takes such names, and other clients read them in one way or another, but aiokafka cannot: it
raises at every attempt to read the fetch, so that one record would stop its partition for ever. Here
such a fetch is parsed again, from where that failed, by aiokafka's slower parser in Python.
"""

from collections.abc import Iterator
from typing import Any, Final

from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import MemoryRecords, _MemoryRecordsPy

_WITH_HEADERS: Final = 2  # the first record format that has them


def install() -> None:
    """For every consumer of this process: aiokafka has no narrower place for it."""
    fetcher.MemoryRecords = KeptRecords
    fetcher.PartitionRecords = PartitionRecords


class KeptRecords(MemoryRecords):  # type: ignore[misc]
    """A fetch that can be parsed a second time."""

    def __init__(self, fetched: bytes) -> None:
        super().__init__(fetched)
        self.fetched = fetched


class PartitionRecords(fetcher.PartitionRecords):  # type: ignore[misc]
    """aiokafka's iterator over one partition's fetch; it gets over such names."""

    _records: Any
    _records_iterator: Any
    _aborted_transactions: list[Any]
    _aborted_producers: set[Any]

    def __init__(self, tp: Any, records: KeptRecords, *rest: Any) -> None:
        super().__init__(tp, records, *rest)
        self._aborted = list(self._aborted_transactions)

    def __next__(self) -> Any:
        # Once a record: no call more than aiokafka's own.
        try:
            return next(self._records_iterator)
        except StopIteration:
            self._records_iterator = None  # breaks a cycle
            raise
        except (UnicodeDecodeError, CorruptRecordException):
            # What is corrupt indeed is so for the other parser, too.
            self._records_iterator = self._parsed_again()
            return next(self._records_iterator)

    def _parsed_again(self) -> Iterator[Any]:
        begin = self.next_fetch_offset
        self._records = _LenientRecords(self._records.fetched)
        self._aborted_transactions = list(self._aborted)
        self._aborted_producers = set()
        return (record for record in self._unpack_records() if record.offset >= begin)


class _LenientRecords(_MemoryRecordsPy):  # type: ignore[misc]
    def __init__(self, fetched: bytes) -> None:
        super().__init__(fetched)
        self.fetched = fetched

    def next_batch(self, *_: Any) -> Any:
        batch = self._next_slice
        if batch is None or batch[self.MAGIC_OFFSET] < _WITH_HEADERS:
            return super().next_batch()
        self._cache_next()
        return _LenientBatch(batch)


class _LenientBatch(_DefaultRecordBatchPy):  # type: ignore[misc]
    _buffer: Any

    def _maybe_uncompress(self) -> None:
        super()._maybe_uncompress()
        # The parser decodes nothing but names, each a slice of this.
        self._buffer = _Buffer(self._buffer)


class _Buffer(bytearray):
    def __getitem__(self, at: Any) -> Any:
        found = super().__getitem__(at)
        return _Slice(found) if isinstance(at, slice) else found


class _Slice(bytearray):
    def decode(self, *_: Any, **__: Any) -> str:
        return super().decode(errors="backslashreplace")
