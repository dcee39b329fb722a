"""Around every request: its metrics, its span, its log line."""

import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final

import structlog
from opentelemetry import trace
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from milepost import tracing
from milepost.api import metrics

_NO_ROUTE: Final = "none"
# Asked every few seconds, by machines: nobody looks for them.
_UNTRACED: Final = frozenset({"/healthz", "/readyz", "/metrics"})
_tracer: Final = trace.get_tracer("milepost.api")
_log: Final = structlog.get_logger(__name__)


class Observed:
    """ASGI middleware. `templates` are the paths of routes by their names."""

    def __init__(self, app: ASGIApp, templates: Mapping[str, str]) -> None:
        self._app = app
        self._templates = templates

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, and observe what is a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        # Of an error that nobody made an answer, the server makes one.
        status, begun = 500, None

        async def answer(message: Message) -> None:
            nonlocal status, begun
            if message["type"] == "http.response.start":
                status, begun = message["status"], time.perf_counter()
            await send(message)

        span = _span(scope)
        metrics.IN_PROGRESS.inc()
        with _active(span):
            try:
                await self._app(scope, receive, answer)
            except Exception as error:
                # Uvicorn logs that there was one; which one is told here.
                _log.error("request_failed", method=scope["method"], exc_info=error)
                raise
            finally:
                metrics.IN_PROGRESS.dec()
                self._observe(scope, status, (begun or time.perf_counter()) - started, span)

    def _observe(self, scope: Scope, status: int, seconds: float, span: trace.Span) -> None:
        name = getattr(scope.get("route"), "name", None)
        route = self._templates.get(name, _NO_ROUTE) if name else _NO_ROUTE
        method = scope["method"] if scope["method"] in metrics.METHODS else metrics.OTHER
        answered, took = metrics.of_route(route, method, status)
        answered.inc()
        if b"wait=" not in scope["query_string"]:
            took.observe(seconds)
        _log.debug(
            "request",
            route=route,
            method=method,
            status=status,
            seconds=round(seconds, 6),
            **_subject(scope),
        )
        if span.is_recording():
            span.update_name(f"{method} {route}")
            span.set_attributes({"http.route": route, "http.response.status_code": status})
            if status >= 500:
                span.set_status(trace.StatusCode.ERROR)
        span.end()


def _span(scope: Scope) -> trace.Span:
    """The caller's span goes on in it; without an SDK it is the caller's, where there is one."""
    if scope["path"] in _UNTRACED:
        return trace.INVALID_SPAN
    given = next((value for name, value in scope["headers"] if name == b"traceparent"), None)
    if given is None and not tracing.is_on():
        return trace.INVALID_SPAN
    context = None if given is None else tracing.remote(given.decode("latin-1"))
    return _tracer.start_span(
        "request", context, trace.SpanKind.SERVER, {"http.request.method": scope["method"]}
    )


def _active(span: trace.Span) -> AbstractContextManager[Any]:
    if not span.get_span_context().is_valid:
        return nullcontext()
    return trace.use_span(span)


def _subject(scope: Scope) -> dict[str, str]:
    """What the path says whom this is about."""
    parameters = scope.get("path_params", {})
    return {name: parameters[name] for name in ("tenant", "execution_id") if name in parameters}
