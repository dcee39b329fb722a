"""A TCP relay between a client and a server, whose connections a test cuts or silences."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit


class Relay:
    """Passes bytes on until it is told otherwise; `opened` counts its connections."""

    def __init__(self, target: str) -> None:
        self.url = ""
        self.opened = 0
        self._target = urlsplit(target)
        self._more = asyncio.Event()
        self._writers: set[asyncio.StreamWriter] = set()
        self._passing = asyncio.Event()
        self._passing.set()

    def cut(self) -> None:
        """Break every connection."""
        for writer in self._writers:
            writer.transport.abort()

    def silence(self) -> None:
        """From now on nothing passes, on connections that stay open."""
        self._passing.clear()

    def resume(self) -> None:
        """Let everything pass again."""
        self._passing.set()

    async def reach(self, count: int) -> None:
        """Wait until so many connections have been opened."""
        async with asyncio.timeout(15):
            while self.opened < count:
                self._more.clear()
                await self._more.wait()

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.opened += 1
        self._more.set()
        there, back = await asyncio.open_connection(self._target.hostname, self._target.port)
        self._writers |= {writer, back}
        await asyncio.gather(self._pass(reader, back), self._pass(there, writer))
        self._writers -= {writer, back}

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while piece := await reader.read(65_536):
                await self._passing.wait()
                writer.write(piece)
                await writer.drain()
        writer.transport.abort()


@asynccontextmanager
async def relay(target: str) -> AsyncIterator[Relay]:
    """A relay to the server at the URL `target` while the block is open."""
    made = Relay(target)
    async with await asyncio.start_server(made.carry, "127.0.0.1", 0) as server:
        made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield made
        made.resume()
        made.cut()
