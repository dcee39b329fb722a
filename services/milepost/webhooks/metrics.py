"""What the webhook worker counts and measures. No label names a tenant, an endpoint or an execution."""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from milepost.projections.webhooks import REASONS, Standing
from milepost.webhooks.schedule import Next

REGISTRY: Final = CollectorRegistry()
ProcessCollector(registry=REGISTRY)

_SECONDS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0)

ATTEMPTS: Final = Counter(
    "milepost_webhook_attempts",
    "Calls of endpoints, by what became of the delivery: delivered; retry (it did not arrive and is "
    "tried again); failed (that was the last attempt); cancelled (the endpoint is gone).",
    ["outcome"],
    registry=REGISTRY,
)
ATTEMPT_SECONDS: Final = Histogram(
    "milepost_webhook_attempt_seconds",
    "One call of an endpoint, the wait for its turn left out.",
    buckets=_SECONDS,
    registry=REGISTRY,
)
IN_PROGRESS: Final = Gauge(
    "milepost_webhook_calls_in_progress",
    "Deliveries that this worker is sending.",
    registry=REGISTRY,
)
UNSIGNED: Final = Counter(
    "milepost_webhook_unsigned",
    "Deliveries that could not be signed: the endpoint's secret cannot be opened with the keys of this "
    "worker.",
    registry=REGISTRY,
)
TAKEN_IN: Final = Counter(
    "milepost_webhook_completions", "Completions read from their topics.", registry=REGISTRY
)
DELIVERIES: Final = Counter(
    "milepost_webhook_deliveries", "Deliveries that these called for.", registry=REGISTRY
)
DISABLED: Final = Counter(
    "milepost_webhook_endpoints_given_up",
    "Endpoints that this worker has disabled, by the reason: gone (it answered 410), or failing.",
    ["reason"],
    registry=REGISTRY,
)
PENDING: Final = Gauge(
    "milepost_webhook_deliveries_pending",
    "Deliveries of all workers that have not ended.",
    registry=REGISTRY,
)
OVERDUE: Final = Gauge(
    "milepost_webhook_overdue_seconds",
    "How long the delivery that has waited longest should have been tried; 0 where none is due.",
    registry=REGISTRY,
)
ENDPOINTS_DISABLED: Final = Gauge(
    "milepost_webhook_endpoints_disabled",
    "Endpoints that are disabled, by the reason: asked (by their tenant), gone, failing.",
    ["reason"],
    registry=REGISTRY,
)
_OUTCOMES: Final = {"pending": "retry"}
# There from the start, so that the first of a kind is seen as an increase.
for _outcome in ("delivered", "retry", "failed", "cancelled"):
    ATTEMPTS.labels(_outcome)
for _reason in REASONS:
    DISABLED.labels(_reason)


def attempted(following: Next, seconds: float) -> None:
    """An endpoint was called."""
    ATTEMPTS.labels(_OUTCOMES.get(following.status, following.status)).inc()
    ATTEMPT_SECONDS.observe(seconds)


def stands(standing: Standing) -> None:
    """How things are in the database."""
    PENDING.set(standing.pending)
    OVERDUE.set(standing.overdue_seconds)
    for reason in ("asked", *REASONS):
        ENDPOINTS_DISABLED.labels(reason).set(standing.disabled.get(reason, 0))
