"""Spans of the webhook worker: a call of an endpoint goes on with the trace of the event that ended the
execution."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from opentelemetry import trace

from milepost import tracing
from milepost.projections.webhooks import Claim
from milepost.webhooks.calls import Answer

_tracer: Final = trace.get_tracer("milepost.webhooks")


@contextmanager
def sending(claim: Claim) -> Iterator[trace.Span]:
    """The span of one attempt. `tracing.traceparent` has what to send along in it."""
    context = None if claim.traceparent is None else tracing.remote(claim.traceparent)
    attributes: dict[str, str | int] = {
        "http.request.method": "POST",
        "http.request.resend_count": claim.attempts,
        "milepost.tenant": claim.tenant,
        "milepost.endpoint_id": str(claim.endpoint_id),
        "milepost.message_id": claim.message_id,
    }
    with _tracer.start_as_current_span(
        "webhook", context, trace.SpanKind.CLIENT, attributes
    ) as span:
        yield span


def answered(span: trace.Span, answer: Answer) -> None:
    """What came back of the call."""
    if answer.status_code is not None:
        span.set_attribute("http.response.status_code", answer.status_code)
    if answer.error is not None or (answer.status_code or 0) >= 400:
        span.set_status(trace.StatusCode.ERROR, answer.error)
