"""A TCP proxy that breaks the network between a client and a server, each time until a block ends."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

_CHUNK = 65_536


class Proxy:
    """Listens on `port` of 127.0.0.1 and forwards what comes to another port there."""

    def __init__(self, server: asyncio.Server, target: int) -> None:
        self.port: int = server.sockets[0].getsockname()[1]
        self.target = target
        self.delay = 0.0  # seconds that each chunk of at most 64 KiB takes
        self.rate: float | None = None  # bytes a second and direction
        self._refuses = False
        self._swallows = False
        self._links: set[_Link] = set()

    @contextmanager
    def cut(self) -> Iterator[None]:
        """Reset every connection, and each new one."""
        self._refuses = True
        self.reset()
        try:
            yield
        finally:
            self._refuses = False

    @contextmanager
    def half_open(self) -> Iterator[None]:
        """Accept and swallow: nobody hears anything, neither data nor an end.

        For clients, connections of that time stay dead for ever, as behind a firewall that has
        forgotten them: whoever waits on one must give it up by a timeout of its own. The server, which
        probes those that it had, has ended them when the block ends; the new ones never came there.
        """
        self._swallows = True
        for link in self._links:
            link.dead = True
        try:
            yield
        finally:
            self._swallows = False
            for link in self._links:
                if link.dead:
                    link.abort_server()

    @contextmanager
    def slow(self, *, delay: float = 0.0, rate: float | None = None) -> Iterator[None]:
        """Delay each chunk by so many seconds, let so many bytes a second through, or both."""
        before = self.delay, self.rate
        self.delay, self.rate = delay, rate
        try:
            yield
        finally:
            self.delay, self.rate = before

    def reset(self) -> None:
        """Reset every connection."""
        for link in self._links:
            link.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One accepted connection, until either side ends it."""
        if self._refuses:
            writer.transport.abort()
            return
        link = _Link(self, reader, writer, dead=self._swallows)
        self._links.add(link)
        try:
            await link.run()
        finally:
            self._links.discard(link)


class _Link:
    """A connection of a client, and the one to the server that was made for it."""

    def __init__(
        self,
        proxy: Proxy,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        dead: bool,
    ) -> None:
        self.dead = dead
        self._proxy = proxy
        self._client = reader, writer
        self._server: asyncio.StreamWriter | None = None

    def abort(self) -> None:
        self._client[1].transport.abort()
        self.abort_server()

    def abort_server(self) -> None:
        if self._server is not None:
            self._server.transport.abort()

    async def run(self) -> None:
        try:
            if self.dead:
                await self._swallow()
            else:
                await self._forward()
        except OSError:
            pass  # the server is away: so is the client's connection
        finally:
            self.abort()

    async def _forward(self) -> None:
        reader, self._server = await asyncio.open_connection("127.0.0.1", self._proxy.target)
        ways = ((self._client[0], self._server), (reader, self._client[1]))
        pumps = [asyncio.create_task(self._pump(*way)) for way in ways]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            if self.dead:
                # The other side does not hear that this one has gone.
                await asyncio.wait(pumps)
        finally:
            for pump in pumps:
                pump.cancel()

    async def _swallow(self) -> None:
        while await self._client[0].read(_CHUNK):
            pass

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(_CHUNK):
                await asyncio.sleep(self._takes(len(data)))
                if not self.dead:
                    writer.write(data)
                    await writer.drain()
        except OSError:
            pass  # reset, by either side

    def _takes(self, size: int) -> float:
        rate = self._proxy.rate
        return self._proxy.delay + (size / rate if rate else 0.0)


@asynccontextmanager
async def proxied(target: int, port: int = 0) -> AsyncIterator[Proxy]:
    """A proxy before port `target` of 127.0.0.1, on `port` or a free one."""
    proxies: list[Proxy] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await proxies[0].serve(reader, writer)

    server = await asyncio.start_server(serve, "127.0.0.1", port, limit=_CHUNK)
    proxies.append(Proxy(server, target))
    try:
        yield proxies[0]
    finally:
        server.close()
        proxies[0].reset()
        await server.wait_closed()
