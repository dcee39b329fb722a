"""What the HTTP API counts and measures. No label names a tenant or an execution."""

from collections.abc import Iterable
from datetime import datetime
from functools import cache
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from milepost.projections.queries import PartitionLag
from milepost.projections.queries.counts import Counts

REGISTRY: Final = CollectorRegistry()
ProcessCollector(registry=REGISTRY)

# Who asks chooses the method; what no route has is one of these.
OTHER: Final = "other"
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

REQUESTS: Final = Counter(
    "milepost_http_requests",
    "Requests that were answered, by the template of their route. 429: the caller asked too often.",
    ["route", "method", "status"],
    registry=REGISTRY,
)
RESPONSE_SECONDS: Final = Histogram(
    "milepost_http_response_seconds",
    "From a request until its answer begins; long polls, which wait because they are asked to, left "
    "out.",
    ["route", "method"],
    buckets=_SECONDS,
    registry=REGISTRY,
)
IN_PROGRESS: Final = Gauge(
    "milepost_http_requests_in_progress",
    "Requests that are being answered, open streams and long polls among them.",
    registry=REGISTRY,
)
STREAMS: Final = Gauge("milepost_streams_open", "Streams that are open.", registry=REGISTRY)
CONNECTIONS: Final = Gauge(
    "milepost_database_connections_in_use",
    "Connections of the pool to Postgres that are in use.",
    registry=REGISTRY,
)
CONNECTIONS_MAX: Final = Gauge(
    "milepost_database_connections_max", "How many there can be.", registry=REGISTRY
)
PUBLISHED_LATE: Final = Counter(
    "milepost_requests_published_late",
    "Requests that were accepted, but not published at once, and then by the sweeper.",
    registry=REGISTRY,
)
UNPUBLISHED: Final = Gauge(
    "milepost_requests_unpublished",
    "Requests that were accepted and are not published.",
    registry=REGISTRY,
)
SILENT: Final = Gauge(
    "milepost_silent_executions",
    "Executions in flight of which nothing was heard within their heartbeat.",
    registry=REGISTRY,
)
PROJECTION_LAG: Final = Gauge(
    "milepost_projection_lag_records",
    "Records of a partition that are not folded yet, as the processors last reported.",
    ["partition"],
    registry=REGISTRY,
)
PROJECTION_AGE: Final = Gauge(
    "milepost_projection_age_seconds",
    "Since a processor last reported on a partition: each second where one has it.",
    ["partition"],
    registry=REGISTRY,
)


@cache  # to look labels up takes as long as everything else here
def of_route(route: str, method: str, status: int) -> tuple[Counter, Histogram]:
    """Where an answer is counted, and how long it took to begin."""
    return REQUESTS.labels(route, method, status), RESPONSE_SECONDS.labels(route, method)


def stands(counts: Counts, lag: Iterable[PartitionLag], now: datetime) -> None:
    """How things are in the database."""
    SILENT.set(counts.silent)
    UNPUBLISHED.set(counts.unpublished)
    for one in lag:
        if one.measured_at is not None and one.behind is not None:
            PROJECTION_LAG.labels(one.partition).set(one.behind)
            age = (now - one.measured_at).total_seconds()
            PROJECTION_AGE.labels(one.partition).set(max(0.0, age))
