"""Spans of the processor: one a batch, linked to the events in it; a span an event would cost more than
the event."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Final

from opentelemetry import trace

from milepost.projections.store import Batch
from milepost.schemas.binding import Event
from milepost.tracing import remote

# Links of one span, each to another context.
MAX_LINKS: Final = 64

_tracer: Final = trace.get_tracer("milepost.processor")


@contextmanager
def folding(batch: Batch) -> Iterator[None]:
    """The span of folding and committing `batch`; of nothing there is none."""
    if not batch.decoded:
        yield
        return
    with _tracer.start_as_current_span("fold", kind=trace.SpanKind.CONSUMER) as span:
        if span.is_recording():
            span.set_attributes(
                {
                    "messaging.system": "kafka",
                    "messaging.operation.type": "process",
                    "messaging.destination.name": batch.topic,
                    "messaging.destination.partition.id": str(batch.partition),
                    "messaging.batch.message_count": len(batch.decoded),
                    "messaging.kafka.offset": batch.from_offset,
                }
            )
            for traceparent in islice(_contexts(batch), MAX_LINKS):
                span.add_link(trace.get_current_span(remote(traceparent)).get_span_context())
        yield


def _contexts(batch: Batch) -> Iterator[str]:
    """Each once, in the order of the log."""
    return iter(
        dict.fromkeys(
            event.traceparent
            for _, event in batch.decoded
            if isinstance(event, Event) and event.traceparent
        )
    )
