"""What the processor counts and measures: a few operations a batch, none an event.

No label names a tenant or an execution.
"""

from collections import Counter as Counted
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Final

from aiokafka.errors import KafkaError
from asyncpg.exceptions import TransactionRollbackError
from faust.types import TP
from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector
from prometheus_client import Histogram as Single
from stamina.instrumentation import RetryDetails, get_on_retry_hooks, set_on_retry_hooks

from milepost.processor.histogram import Histogram
from milepost.projections.execution import Disposition
from milepost.projections.outgoing import TIME, Outgoing
from milepost.projections.store import Conflict, Written
from milepost.schemas.binding import microseconds
from milepost.schemas.topics import Topics
from milepost.schemas.values import TERMINAL

REGISTRY: Final = CollectorRegistry()
ProcessCollector(registry=REGISTRY)

# Seconds of one batch, and from one end of the pipe to the other.
_SHORT: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_LONG: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0)
_SIZES: Final = (1, 10, 50, 100, 250, 500, 1_000, 2_000, 5_000, 10_000, 50_000)

LAG: Final = Gauge(
    "milepost_lag_records",
    "Records of a partition of this worker that are not folded yet.",
    ["partition"],
    registry=REGISTRY,
)
RELAY_LAG: Final = Gauge(
    "milepost_relay_lag_records",
    "Records of a partition of this worker that are folded, and what they caused not yet known to be "
    "sent out.",
    ["partition"],
    registry=REGISTRY,
)
PAUSED: Final = Gauge(
    "milepost_partition_paused",
    "1 for a partition of this worker that waits for people, 0 for one that is folded: Postgres and "
    "the broker do not agree on it.",
    ["partition"],
    registry=REGISTRY,
)
FOLDED: Final = Counter(
    "milepost_folded_records",
    "Records folded, by what the fold did with them.",
    ["disposition"],
    registry=REGISTRY,
)
QUARANTINED: Final = Counter(
    "milepost_quarantined_records",
    "Records that could not be folded, by the reason.",
    ["reason"],
    registry=REGISTRY,
)
BATCH_RECORDS: Final = Single(
    "milepost_batch_records",
    "Records folded in one transaction.",
    buckets=_SIZES,
    registry=REGISTRY,
)
FOLD_SECONDS: Final = Single(
    "milepost_fold_seconds",
    "Decoding and folding one batch, the database left out.",
    buckets=_SHORT,
    registry=REGISTRY,
)
COMMIT_SECONDS: Final = Single(
    "milepost_commit_seconds",
    "Reading and writing one batch in Postgres until it is committed, retries included.",
    buckets=_SHORT,
    registry=REGISTRY,
)
TO_QUERYABLE: Final = Histogram(
    "milepost_event_to_queryable_seconds",
    "From the time the broker recorded an event until it is committed in Postgres.",
    _LONG,
    REGISTRY,
)
TO_NOTIFICATION: Final = Histogram(
    "milepost_event_to_notification_seconds",
    "From the time the broker recorded the event that ended an execution until its completion is "
    "committed in Kafka.",
    _LONG,
    REGISTRY,
)
RELAY_SECONDS: Final = Single(
    "milepost_relay_seconds",
    "One Kafka transaction of the relay.",
    buckets=_SHORT,
    registry=REGISTRY,
)
RELAYED: Final = Counter(
    "milepost_relayed_records",
    "Records sent out: completions, commands, quarantined ones.",
    registry=REGISTRY,
)
REBALANCES: Final = Counter(
    "milepost_rebalances", "How often this worker was assigned partitions.", registry=REGISTRY
)
RETRIES: Final = Counter(
    "milepost_retries",
    "What was tried again, by the cause: another partition's transaction (conflict), the database or "
    "the broker.",
    ["cause"],
    registry=REGISTRY,
)
MONTHS_AHEAD: Final = Gauge(
    "milepost_event_log_months_ahead",
    "Coming months that the event log has a partition for.",
    registry=REGISTRY,
)
DEFAULT_IN_USE: Final = Gauge(
    "milepost_event_log_default_in_use",
    "1 where records lie in the event log's default partition: their month had none.",
    registry=REGISTRY,
)
# There from the start, so that the first of a kind is seen as an increase.
for _disposition in Disposition:
    FOLDED.labels(_disposition.value)
for _cause in ("conflict", "database", "broker"):
    RETRIES.labels(_cause)

_disposition_of: Final = attrgetter("disposition")
_recorded_at: Final = attrgetter("recorded_at")
# How the names of completion topics end.
_COMPLETIONS: Final = tuple(Topics("").completions(state) for state in TERMINAL)


def folded(written: Written, decode_seconds: float, write_seconds: float, now: float) -> None:
    """A batch is committed; `now` in seconds since 1970."""
    log = written.log
    if not log:
        return
    BATCH_RECORDS.observe(len(log))
    FOLD_SECONDS.observe(decode_seconds + written.fold_seconds)
    COMMIT_SECONDS.observe(write_seconds - written.fold_seconds)
    for disposition, count in Counted(map(_disposition_of, log)).items():
        FOLDED.labels(disposition).inc(count)
        if disposition == Disposition.QUARANTINED:
            _quarantined(row.reason for row in log if row.disposition == disposition)
    TO_QUERYABLE.observe(_ages(map(_recorded_at, log), now))


def relayed(outgoing: Sequence[Outgoing], seconds: float, now: float) -> None:
    """A transaction of the relay is committed; `now` in seconds since 1970."""
    RELAY_SECONDS.observe(seconds)
    RELAYED.inc(len(outgoing))
    ended = [_recorded(record) for record in outgoing if record.topic.endswith(_COMPLETIONS)]
    TO_NOTIFICATION.observe(_ages(ended, now))


def owned(
    ends: Mapping[TP, int],
    progress: Mapping[TP, int],
    relayed: Mapping[TP, int],
    paused: Collection[TP],
) -> None:
    """How the partitions of this worker stand now; what is said of others is forgotten."""
    for gauge in (LAG, RELAY_LAG, PAUSED):
        gauge.clear()
    for tp, position in progress.items():
        PAUSED.labels(tp.partition).set(0)
        if tp in ends:
            LAG.labels(tp.partition).set(max(0, ends[tp] - position))
        if tp in relayed:
            RELAY_LAG.labels(tp.partition).set(max(0, position - relayed[tp]))
    for tp in paused:
        PAUSED.labels(tp.partition).set(1)


def count_retries() -> None:
    """Count what stamina tries again in this process."""

    def retried(details: RetryDetails) -> None:
        RETRIES.labels(_cause_of(details.caused_by)).inc()

    set_on_retry_hooks([*get_on_retry_hooks(), retried])


def _cause_of(error: Exception) -> str:
    if isinstance(error, Conflict | TransactionRollbackError):
        return "conflict"
    return "broker" if isinstance(error, KafkaError) else "database"


def _quarantined(reasons: Iterable[str | None]) -> None:
    # Each begins with one of the contract's few words.
    for reason, count in Counted((text or "").partition(":")[0] for text in reasons).items():
        QUARANTINED.labels(reason).inc(count)


def _recorded(completion: Outgoing) -> int:
    """When its event was recorded, in microseconds since 1970."""
    return microseconds(datetime.fromisoformat((completion.headers[TIME][1] or b"").decode()))


def _ages(moments: Iterable[int], now: float) -> list[float]:
    """Seconds since these moments. Clocks differ: nothing is younger than now."""
    now *= 1e6
    ages = [(now - moment) / 1e6 for moment in moments]
    return ages if min(ages, default=0.0) >= 0 else [max(0.0, age) for age in ages]
