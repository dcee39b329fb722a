"""Servers on the loopback interface that do with a connection whatever a test wants."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Server(NamedTuple):
    """Where it listens, and what came: the head of each request with its body."""

    port: int
    requests: list[bytes]


async def read_request(reader: asyncio.StreamReader) -> bytes:
    """One whole request."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
    return head + await reader.readexactly(length)


@asynccontextmanager
async def serving(
    behaviour: Behaviour, *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[Server]:
    """A server that, once it has read a request, does as told; every connection ends with the block."""
    requests: list[bytes] = []
    connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections[task] = writer
        try:
            requests.append(await read_request(reader))
            await behaviour(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass  # the caller has gone
        finally:
            del connections[task]
            writer.close()

    server = await asyncio.start_server(serve, host, 0, ssl=tls)
    try:
        yield Server(server.sockets[0].getsockname()[1], requests)
    finally:
        server.close()
        for writer in connections.values():
            writer.transport.abort()
        await asyncio.gather(*connections)


def answering(answer: bytes) -> Behaviour:
    """Answer so, and close."""

    async def behave(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()

    return behave


def repeating(part: bytes, first: bytes = b"", pause: float = 0) -> Behaviour:
    """Answer `first`, then `part` without end: at once, or every `pause` seconds."""

    async def behave(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(first)
        while not writer.is_closing():
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause)

    return behave


async def hanging(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    """Never answer."""
    await reader.read()


async def resetting(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Reset the connection instead of an answer."""
    writer.transport.abort()


async def polite(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer 200, and the next request of the connection, too."""
    while True:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        await writer.drain()
        await read_request(reader)
