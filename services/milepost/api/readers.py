"""The buffer of one open stream: of each execution the newest view, until the reader takes it."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from milepost.api.positions import within
from milepost.projections.queries.changes import Vector

# Executions whose news a reader has not taken yet, and the characters of their documents.
BUFFERED: Final = 4_000
BUFFERED_SIZE: Final = 33_554_432


class News(NamedTuple):
    """One execution as it is now, its document as JSON text, and the id of its completion where it has
    just ended."""

    execution_id: str
    tenant: str
    state: str
    operation: str | None
    document: str
    completion_id: str | None


@dataclass(frozen=True)
class Subject:
    """What a stream is about: one execution, or all of a tenant's in these states, of this operation.

    An execution whose operation is not known yet may be the one that is asked for.
    """

    tenant: str
    execution_id: str | None = None
    states: frozenset[str] = frozenset()
    operation: str | None = None

    def covers(self, news: News) -> bool:
        """Whether this is told to who follows the subject."""
        return (
            news.tenant == self.tenant
            and self.execution_id in (None, news.execution_id)
            and (not self.states or news.state in self.states)
            and (None in (self.operation, news.operation) or news.operation == self.operation)
        )


class Ended(Exception):
    """The stream is over before its subject is; the text says why."""


class Dropped(Ended):
    """As Ended, by the reader's own fault."""

    def __init__(self, tenant: str) -> None:
        super().__init__(
            f"more than {BUFFERED} executions, or {BUFFERED_SIZE >> 20} MiB of them, have changed since "
            "the last was taken"
        )
        self.tenant = tenant


class _Held(NamedTuple):
    """News that waits: what it is now, up to which vector it first was news, and up to which it is."""

    news: News
    first: Vector
    last: Vector


class Reader:
    """The buffer of one open stream."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self._seen: Vector = {}
        self._waiting: dict[str, _Held] = {}
        self._size = 0
        self._filled = asyncio.Event()
        self._ended: Ended | None = None

    def start(self, seen: Vector) -> None:
        """What is true up to `seen` has been read; only what lies beyond is news."""
        self._seen = seen
        self._waiting = {
            name: held for name, held in self._waiting.items() if not within(held.last, seen)
        }
        self._size = sum(len(held.news.document) for held in self._waiting.values())
        if not self._waiting and self._ended is None:
            self._filled.clear()

    def hear(self, news: Iterable[News], until: Vector) -> None:
        """Keep what concerns the subject; end the stream where that is too much."""
        if self._ended is not None or within(until, self._seen):
            return
        for one in news:
            if self.subject.covers(one):
                self._keep(one, until)
        # A single one is not too much, however large it is.
        if len(self._waiting) > BUFFERED or (self._size > BUFFERED_SIZE and len(self._waiting) > 1):
            self._waiting.clear()
            self._size = 0
            self.end(Dropped(self.subject.tenant))
        elif self._waiting:
            self._filled.set()

    def _keep(self, news: News, until: Vector) -> None:
        held = self._waiting.get(news.execution_id)
        self._size += len(news.document) - (len(held.news.document) if held else 0)
        if held is None:
            self._waiting[news.execution_id] = _Held(news, until, until)
            return
        # In its place: what is told with the id of the older news includes that.
        completion = held.news.completion_id or news.completion_id
        news = news._replace(completion_id=completion)
        self._waiting[news.execution_id] = held._replace(news=news, last=until)

    def end(self, why: Ended) -> None:
        """Make `take` raise this, once what is left has been taken."""
        self._ended = self._ended or why
        self._filled.set()

    async def take(self) -> tuple[News, Vector | None]:
        """The next news, and the vector up to which everything has now been taken, None while in between.

        Raises Ended.
        """
        await self._filled.wait()
        if not self._waiting:
            assert self._ended is not None, "filled without news"
            raise self._ended
        taken = self._waiting.pop(next(iter(self._waiting)))
        self._size -= len(taken.news.document)
        following = next(iter(self._waiting.values()), None)
        if following is None and self._ended is None:
            self._filled.clear()
        is_last = following is None or following.first is not taken.first
        return taken.news, taken.first if is_last else None

    @property
    def idle(self) -> bool:
        """Whether everything has been taken."""
        return not self._filled.is_set()
