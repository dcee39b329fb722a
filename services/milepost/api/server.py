"""Running the API: one listening socket, one JSON line when ready, a bounded end."""

import asyncio
import contextlib
import errno
import json
import signal
import socket
from collections.abc import Iterator
from typing import Any, Final

import uvicorn

from milepost.api.app import create_app
from milepost.api.context import Context
from milepost.settings import Settings

_DRAIN_SECONDS: Final = 3
_BACKLOG: Final = 2_048
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


class CannotServe(Exception):
    """The API cannot listen where it was told to; the text says why and what to do."""


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; answers that are under way get some seconds.

    Prints one line, `{"api": "http://host:port"}`, when it listens. Port 0 takes a free one.
    Raises CannotServe when it cannot listen.
    """
    with _listening(settings.api_host, settings.api_port) as listener:
        config = uvicorn.Config(
            create_app(settings),
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=_DRAIN_SECONDS,
        )
        await _Server(config, _url(listener)).serve(sockets=[listener])


class _Server(uvicorn.Server):
    """uvicorn, with signals that end `serve` and nothing else, and long polls that end with it."""

    def __init__(self, config: uvicorn.Config, url: str) -> None:
        super().__init__(config)
        self._url = url

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
        print(json.dumps({"api": self._url}), flush=True)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        parts: Context = self._app().state.context
        parts.watch.close()
        await super().shutdown(sockets)

    def _app(self) -> Any:
        return self.config.app


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
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
