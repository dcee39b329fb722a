"""An endpoint of a tenant's: a real HTTP server on the loopback interface that answers as it is told."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

from standardwebhooks import Webhook

from signals import DEADLINE

_REASONS: Final = {200: "OK", 302: "Found", 410: "Gone", 429: "Too Many Requests", 503: "Away"}


class Call(NamedTuple):
    """One request: its path, its headers by lower-case name, and its body."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        """What receivers drop repeats by."""
        return self.headers["webhook-id"]

    def verify(self, secret: str) -> None:
        """Raise WebhookVerificationError unless the secret's owner has signed it just now."""
        Webhook(secret).verify(self.body, self.headers)


class Reply(NamedTuple):
    """What to answer."""

    status: int = 200
    headers: tuple[str, ...] = ()


Answer = Callable[[Call], Awaitable[Reply]]


class Receiver:
    """Counts and keeps what comes; `answers` says what a path answers, by default 200."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.answers: dict[str, Answer] = {}
        self.under_way: dict[str, int] = {}
        self.most_under_way: dict[str, int] = {}
        self.url = ""
        self._came = asyncio.Condition()

    def of(self, path: str) -> list[Call]:
        """The calls of one path, in the order of their coming."""
        return [call for call in self.calls if call.path == path]

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds, which may be after any call."""
        async with asyncio.timeout(DEADLINE), self._came:
            await self._came.wait_for(holds)

    async def heard(self, path: str, count: int = 1) -> list[Call]:
        """Wait until so many calls of a path have come."""
        await self.until(lambda: len(self.of(path)) >= count)
        return self.of(path)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection's requests."""
        try:
            while True:
                call = await _read(reader)
                reply = await self._answer(call)
                lines = [
                    f"HTTP/1.1 {reply.status} {_REASONS.get(reply.status, 'Other')}",
                    "content-length: 0",
                    *reply.headers,
                ]
                writer.write("\r\n".join([*lines, "", ""]).encode())
                await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            pass  # the caller has gone
        finally:
            writer.close()

    async def _answer(self, call: Call) -> Reply:
        path = call.path
        self.under_way[path] = now = self.under_way.get(path, 0) + 1
        self.most_under_way[path] = max(now, self.most_under_way.get(path, 0))
        async with self._came:
            self.calls.append(call)
            self._came.notify_all()
        try:
            answer = self.answers.get(path)
            return Reply() if answer is None else await answer(call)
        finally:
            self.under_way[path] -= 1


async def _read(reader: asyncio.StreamReader) -> Call:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {
        name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])
    }
    body = await reader.readexactly(int(headers["content-length"]))
    return Call(head[0].split(" ")[1], headers, body)


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """A receiver that listens on a free port."""
    receiver = Receiver()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    receiver.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield receiver
    finally:
        server.close()
