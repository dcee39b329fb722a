"""`/metrics`, `/healthz` and `/readyz` of services that speak no HTTP otherwise."""

import asyncio
import contextlib
import errno
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, Final

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from milepost.settings import Settings

_DRAIN_SECONDS: Final = 1


class CannotListen(Exception):
    """The port for health and metrics cannot be had; the text says why and what to do."""


class Checks:
    """What a service needs to do its work, each with what is wrong with it, or None.

    `names` are checks that have not been made: the service is not ready before each has been.
    """

    def __init__(self, *names: str) -> None:
        self._problems: dict[str, str | None] = dict.fromkeys(names, "not known yet")

    def report(self, name: str, problem: str | None) -> None:
        """The check `name` has been made."""
        self._problems[name] = problem

    def document(self) -> dict[str, Any]:
        """The shape of the HTTP API's `/readyz`."""
        checks = {
            name: {"ok": problem is None, "detail": problem}
            for name, problem in self._problems.items()
        }
        return {"ready": not any(self._problems.values()), "checks": checks}


@asynccontextmanager
async def listening(
    settings: Settings, registry: CollectorRegistry, checks: Checks
) -> AsyncIterator[None]:
    """Answer on the port for metrics until the block ends; nothing where the settings name none.

    On the event loop of the service: one that is stuck does not seem alive. Raises CannotListen.
    """
    if not settings.metrics_port:
        yield
        return
    with _socket(settings.metrics_host, settings.metrics_port) as listener:
        config = uvicorn.Config(
            _app(registry, checks),
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=_DRAIN_SECONDS,
        )
        server = _Server(config)
        serving = asyncio.create_task(server.serve(sockets=[listener]), name="monitoring")
        try:
            yield
        finally:
            server.should_exit = True
            await serving


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave them to the service."""
        yield


def _app(registry: CollectorRegistry, checks: Checks) -> Starlette:
    async def metrics(_: Request) -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    async def healthz(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def readyz(_: Request) -> Response:
        document = checks.document()
        return JSONResponse(document, 200 if document["ready"] else 503)

    answers = {"/metrics": metrics, "/healthz": healthz, "/readyz": readyz}
    return Starlette(routes=[Route(path, answer) for path, answer in answers.items()])


def _socket(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except (OSError, UnicodeError) as error:
        taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        raise CannotListen(
            f"health and metrics need port {port} on {host}, "
            + ("which is taken. " if taken else f"but cannot: {error}. ")
            + "Set MILEPOST_METRICS_PORT to another port (0: none), and MILEPOST_METRICS_HOST."
        ) from None
