"""Each second: where the events topic ends, for everyone who asks for the lag, and whether all moves."""

import asyncio
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

import structlog
from aiokafka.errors import KafkaError
from asyncpg import InterfaceError, InternalClientError, PostgresError
from faust.types import TP

from milepost.monitoring import Checks
from milepost.processor import metrics
from milepost.processor.ownership import Ownership
from milepost.processor.reader import REQUEST, Reader
from milepost.projections.store import Store

# Seconds without progress, in spite of lag, after which the worker ends and is started anew. Longer
# than a rebalance takes when a member answers but does not rejoin.
STUCK: Final = 90.0
# Seconds that one look at the broker and the database may take: enough for a reader to find out that
# its connection is dead.
LOOK: Final = REQUEST + 2.0
AWAY: Final = (
    KafkaError, PostgresError, InterfaceError, InternalClientError, OSError, TimeoutError,
)  # fmt: skip

_log: Final = structlog.get_logger(__name__)


class Stuck(Exception):
    """A partition is not folded although records wait."""


class Watch:
    """Knows since when each partition has not moved although there was something to do."""

    def __init__(self) -> None:
        self._stood: dict[TP, tuple[int | None, float]] = {}

    def look(
        self,
        partitions: Collection[TP],
        progress: Mapping[TP, int],
        ends: Mapping[TP, int],
        now: float,
    ) -> None:
        """Raises Stuck. A partition without progress is one that Kafka says is ours and we do not fold."""
        stood, self._stood = self._stood, {}
        for tp in partitions:
            position = progress.get(tp)
            if position is not None and position >= ends[tp]:
                continue
            last, since = stood.get(tp, (None, now))
            self._stood[tp] = position, (since if last == position else now)
            if now - self._stood[tp][1] > STUCK:
                raise Stuck(
                    f"partition {tp.partition} stands at {position}, the topic at {ends[tp]}, for"
                    f" {STUCK:.0f} s. This worker ends, so that another takes its place."
                )

    def forget(self) -> None:
        """While the broker or the database is away nothing can move."""
        self._stood.clear()


class Reporter:
    """Reports on the events topic `topic`, and watches what of it is ours.

    `checks` hears of `connections` (to the broker and the database) and `partitions`.
    """

    def __init__(
        self, topic: str, ownership: Ownership, reader: Reader, store: Store, checks: Checks
    ) -> None:
        self._topic = topic
        self._ownership = ownership
        self._reader = reader
        self._store = store
        self._checks = checks
        self._watch = Watch()

    async def run(self, assignment: Callable[[], Collection[Any]]) -> None:
        """Until cancelled; `assignment` is what Kafka says is ours. Raises Stuck."""
        while True:
            assigned = {TP(*tp) for tp in assignment()}
            try:
                async with asyncio.timeout(LOOK):
                    ends = await self._report_ends(assigned)
            except AWAY as error:
                _log.warning("report_failed", error=repr(error))
                self._checks.report("connections", "the broker or the database is away")
                self._watch.forget()
            else:
                now = asyncio.get_running_loop().time()
                progress, paused = self._ownership.progress(), self._ownership.paused
                metrics.owned(ends, progress, self._ownership.relayed(), paused)
                self._checks.report("connections", None)
                self._checks.report("partitions", _paused(paused))
                self._watch.look(assigned - paused, progress, ends, now)
            await asyncio.sleep(1)

    async def _report_ends(self, assigned: Collection[TP]) -> Mapping[TP, int]:
        ends = await self._reader.ends(assigned) if assigned else {}
        await self._store.report_ends(self._topic, {tp.partition: end for tp, end in ends.items()})
        return ends


def _paused(paused: Collection[TP]) -> str | None:
    if not paused:
        return None
    numbers = ", ".join(str(tp.partition) for tp in sorted(paused))
    return f"partition {numbers} is not folded: positions.problem says why, and what to do"
