"""Asks for one path over some connections for some seconds: `python -m benchmarks.load` prints figures.

A process of its own, and cheap: no client library, answers are told apart by their length alone.
"""

import asyncio
import json
import sys
import time
from typing import Any, Final, cast
from urllib.parse import urlsplit

import uvloop

_LENGTH: Final = b"\r\ncontent-length: "


class _Connection(asyncio.Protocol):
    """Sends the request, and again as soon as its answer is whole, until the deadline."""

    def __init__(self, request: bytes, deadline: float) -> None:
        self._request = request
        self._deadline = deadline
        self._received = b""
        self._sent = 0.0
        self.milliseconds: list[float] = []
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by its class
        self._send()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head = self._received.find(b"\r\n\r\n")
        if head < 0:
            return
        start = self._received.index(_LENGTH) + len(_LENGTH)
        length = int(self._received[start : self._received.index(b"\r", start)])
        if len(self._received) < head + 4 + length:
            return
        if not self._received.startswith(b"HTTP/1.1 200 "):
            self.ended.set_exception(RuntimeError(self._received.decode()))
            self._transport.close()
            return
        now = time.perf_counter()
        self.milliseconds.append((now - self._sent) * 1e3)
        self._received = b""
        if now < self._deadline:
            self._send()
        else:
            self.ended.set_result(None)
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_exception(error or ConnectionError("the server has hung up"))

    def _send(self) -> None:
        self._sent = time.perf_counter()
        self._transport.write(self._request)


async def ask(url: str, token: str, connections: int, seconds: float) -> dict[str, Any]:
    """Answers a second, and the milliseconds of each. Raises RuntimeError for any answer but 200."""
    where = urlsplit(url)
    lines = (
        f"GET {where.path} HTTP/1.1", f"Host: {where.netloc}", f"Authorization: Bearer {token}", "", "",
    )  # fmt: skip
    request, began = "\r\n".join(lines).encode(), time.perf_counter()
    loop, host, port = asyncio.get_running_loop(), where.hostname or "", where.port or 80
    made = [
        await loop.create_connection(lambda: _Connection(request, began + seconds), host, port)
        for _ in range(connections)
    ]
    async with asyncio.timeout(seconds + 30):
        await asyncio.gather(*(connection.ended for _, connection in made))
    elapsed = time.perf_counter() - began
    milliseconds = [one for _, connection in made for one in connection.milliseconds]
    return {"rate": len(milliseconds) / elapsed, "milliseconds": milliseconds}


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        json.dump(runner.run(ask(**asked)), sys.stdout)
