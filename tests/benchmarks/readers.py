"""Reads executions as fast as 16 connections can, over HTTP or straight from Postgres; a process of its own.

`python -m benchmarks.readers http|sql SECONDS`, where `READERS_AT` is the address and the ids are lines
of standard input; prints one JSON line: reads a second, milliseconds of each.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from itertools import cycle
from urllib.parse import urlsplit

import asyncpg

from milepost.projections.statements import statement

CONNECTIONS = 16
AT = os.environ["READERS_AT"]
Read = Callable[[str], Awaitable[object]]


async def main(kind: str, seconds: float) -> None:
    """Read in turn on every connection until the time is over."""
    connect = _http if kind == "http" else _sql
    ids = [line.strip() for line in sys.stdin]
    reads = [await connect() for _ in range(CONNECTIONS)]
    taken: list[float] = []
    began = time.perf_counter()

    async def go(read: Read, number: int) -> None:
        for one in cycle(ids[number:] + ids[:number]):
            before = time.perf_counter()
            if before - began > seconds:
                return
            await read(one)
            taken.append((time.perf_counter() - before) * 1e3)

    await asyncio.gather(*(go(read, 7 * number) for number, read in enumerate(reads)))
    elapsed = time.perf_counter() - began
    print(json.dumps({"rate": len(taken) / elapsed, "ms": taken}))


async def _http() -> Read:
    where = urlsplit(AT)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)

    async def read(id_: str) -> bytes:
        request = f"GET /v1/executions/{id_} HTTP/1.1\r\nHost: {where.netloc}\r\n\r\n"
        writer.write(request.encode())
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        assert head.startswith(b"http/1.1 200"), head
        length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
        return await reader.readexactly(length)

    return read


async def _sql() -> Read:
    connection = await asyncpg.connect(AT)
    topic = os.environ["READERS_TOPIC"]

    async def read(id_: str) -> object:
        row = await connection.fetchrow(statement("execution"), id_, None, topic, "{}", None)
        assert row is not None, id_
        return row

    return read


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], float(sys.argv[2])))
