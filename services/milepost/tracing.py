"""Traces: the W3C trace context of what is being done, and where spans are sent.

OpenTelemetry is optional. Without its API nothing here does anything; without its SDK, or without an
endpoint to send spans to, contexts are passed on and no span is made.
"""

import os
import sys
from threading import Event
from typing import TYPE_CHECKING, Final

import structlog

if TYPE_CHECKING:
    from opentelemetry.context import Context

# Set by people and by operators of clusters, for every program alike.
ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_SPOKEN: Final = "http/protobuf"
_REMEDY: Final = "pip install 'milepost[otel]', or unset the variable"

_on: Final = Event()
_log: Final = structlog.get_logger(__name__)


def configure(service: str) -> None:
    """Send this process's spans to the OTLP endpoint of the environment, where it names one.

    `service` is the `service.name` where the environment gives no other. Every `OTEL_` variable that
    OpenTelemetry's SDK reads counts. What is missing for it is logged: no service stops for want of
    traces.
    """
    if not (variable := _asked_for()):
        return
    spoken = next((value for name in _PROTOCOLS if (value := os.environ.get(name))), _SPOKEN)
    if spoken != _SPOKEN:
        remedy = f"set {_PROTOCOLS[0]}={_SPOKEN}, and the endpoint for it"
        _log.warning("no_traces", reason=f"spans are not sent by {spoken}", remedy=remedy)
        return
    try:
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        _log.warning("no_traces", reason=f"{variable} is set, and {error}", remedy=_REMEDY)
        return
    named = os.environ.get("OTEL_SERVICE_NAME", service)
    # It sends what is left when the process ends.
    provider = TracerProvider(resource=Resource.create({SERVICE_NAME: named}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    _on.set()


def is_on() -> bool:
    """Whether spans are sent."""
    return _on.is_set()


def traceparent() -> str | None:
    """The `traceparent` of the span that is active here; None where none is."""
    # Nobody can have begun one without this, and importing it takes its time.
    if "opentelemetry.trace" not in sys.modules:
        return None
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier.get("traceparent")


def remote(traceparent: str) -> "Context":
    """The context that a `traceparent` names: the parent of a span that goes on from there.

    Needs OpenTelemetry's API.
    """
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract({"traceparent": traceparent})


def ids() -> dict[str, str]:
    """`trace_id` and `span_id`, in hexadecimal, of the span that is active here; empty where none is."""
    if "opentelemetry.trace" not in sys.modules:
        return {}
    from opentelemetry import trace

    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return {}
    return {
        "trace_id": trace.format_trace_id(context.trace_id),
        "span_id": trace.format_span_id(context.span_id),
    }


def _asked_for() -> str | None:
    """The variable that asks for traces."""
    if (
        os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
        or os.environ.get("OTEL_TRACES_EXPORTER") == "none"
    ):
        return None
    return next((name for name in ENDPOINTS if os.environ.get(name)), None)
