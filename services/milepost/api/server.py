"""Running the API: one listening socket, one JSON line when ready, a bounded end."""

import asyncio
import contextlib
import errno
import gc
import json
import signal
import socket
from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

import structlog
import uvicorn
from fastapi import FastAPI

from milepost import tracing
from milepost.api import broker
from milepost.api.access import EVERY_TENANT
from milepost.api.app import create_app
from milepost.api.database import Database
from milepost.api.problems import Problem
from milepost.api.protocol import Protocol
from milepost.client import MilepostError
from milepost.loopback import is_loopback
from milepost.projections import queries
from milepost.settings import Settings

_DRAIN_SECONDS: Final = 3
_CHECK_SECONDS: Final = 5.0
_BACKLOG: Final = 2_048
_UNREAD_SECONDS: Final = 60
_log: Final = structlog.get_logger(__name__)
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


class CannotServe(Exception):
    """The API cannot start; the text says why, where it looked and what to do."""


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; answers that are under way get some seconds.

    Prints one line, `{"api": "http://host:port"}`, when it listens. Port 0 takes a free one.
    Raises CannotServe when access is open to other machines, when it cannot listen, or when Postgres or Kafka is not there at the start;
    one that goes away later is waited for.
    """
    _require_access(settings)
    tracing.configure("milepost-api")
    with _listening(settings.api_host, settings.api_port) as listener:
        await _require_database(settings)
        await _require_broker(settings)
        await _Server(create_app(settings), listener, settings).serve(sockets=[listener])


class _Server(uvicorn.Server):
    """uvicorn, with signals that end `serve` and nothing else, and long polls that end with it."""

    def __init__(self, app: FastAPI, listener: socket.socket, settings: Settings) -> None:
        proxies = [str(network) for network in settings.api_trusted_proxies]
        super().__init__(
            uvicorn.Config(
                app,
                http=Protocol,
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                # By default uvicorn believes whoever connects from this machine.
                proxy_headers=bool(proxies),
                forwarded_allow_ips=proxies,
                timeout_graceful_shutdown=_DRAIN_SECONDS,
            )
        )
        self._app = app
        self._url = _url(listener)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in _SIGNALS:
                loop.remove_signal_handler(number)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        # What is there now stays, and requests leave little that only the collector finds.
        gc.freeze()
        gc.set_threshold(50_000, 20, 100)
        print(json.dumps({"api": self._url}), flush=True)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._app.state.context.watch.close()
        self._app.state.context.streams.close()
        await super().shutdown(sockets)


def _require_access(settings: Settings) -> None:
    if settings.api_access == "open":
        if not is_loopback(settings.api_host):
            raise CannotServe(
                f"access is open, and {settings.api_host} is reached from other machines. "
                "Set MILEPOST_API_ACCESS=required, or MILEPOST_API_HOST=127.0.0.1."
            )
        _log.warning(
            "access_is_open", host=settings.api_host, remedy="MILEPOST_API_ACCESS=required"
        )


async def _require_database(settings: Settings) -> None:
    database = Database(settings.dsn)
    await database.open()
    try:
        async with database.acting_for(EVERY_TENANT) as connection:
            await queries.verify(connection)
    except Problem as problem:
        where = urlsplit(settings.dsn)
        raise CannotServe(
            f"{problem.detail} It was looked for at {where.hostname}:{where.port or 5432}{where.path}; "
            "MILEPOST_DATABASE_URL says where to look."
        ) from None
    finally:
        await database.close()


async def _require_broker(settings: Settings) -> None:
    try:
        await broker.check(settings, _CHECK_SECONDS)
    except MilepostError as error:
        raise CannotServe(str(error)) from None


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=_BACKLOG)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            # Inherited by connections: those of readers that take nothing any more end, too.
            listener.setsockopt(
                socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNREAD_SECONDS * 1_000
            )
        return listener
    except (OSError, UnicodeError) as error:
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            raise CannotServe(
                f"port {port} on {host} is taken. Stop what listens there, or set MILEPOST_API_PORT "
                "to another port (0 takes a free one)."
            ) from None
        raise CannotServe(
            f"cannot listen on {host}, port {port}: {error}. "
            "Correct MILEPOST_API_HOST and MILEPOST_API_PORT."
        ) from None


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
