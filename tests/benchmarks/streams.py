"""A thousand open streams on one API process: how soon each hears of a change, and what that takes.

Run it by itself: `python -m benchmarks.streams` (in tests/).
"""

import asyncio
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit

from benchmarks.stack import Stack, processor, running, service
from milepost.client import Publisher

STREAMS = 1_000
TENANTS = 50
CHANGES = 40
INTERVAL = 0.25  # seconds between changes
OTHERS = 500  # events a second of a tenant that nobody follows, in the second half


async def measure(stack: Stack) -> dict[str, list[float]]:
    """Seconds to open them, milliseconds from publishing to hearing for each stream, the API's memory."""
    settings = await stack.fresh()
    async with (
        processor(settings),
        service(settings, "api") as api,
        Publisher(settings) as publisher,
    ):
        began = time.perf_counter()
        readers = [
            await _open(api.ready["api"], f"t-{number % TENANTS}") for number in range(STREAMS)
        ]
        figures = {
            f"streams: {STREAMS:,} opened, s": [time.perf_counter() - began],
            f"streams: the API with {STREAMS:,}, MB": [api.process.memory_info().rss / 1e6],
        }
        used = api.cpu
        figures["streams: to every one of a tenant's, idle, ms"] = await _heard(publisher, readers)
        figures["streams: CPU of the API meanwhile, s"] = [api.cpu - used]
        noise = asyncio.create_task(_noise(publisher))
        figures[f"streams: the same at {OTHERS} events/s of others, ms"] = await _heard(
            publisher, readers
        )
        noise.cancel()
        for _, writer in readers:
            writer.close()
    return figures


async def _heard(
    publisher: Publisher, readers: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]
) -> list[float]:
    """Milliseconds until each stream of a tenant has told of an end."""
    taken: list[float] = []
    for number in range(CHANGES):
        tenant = number % TENANTS
        run = await publisher.request(f"t-{tenant}", "provision", key=f"{time.time()}")
        began = time.perf_counter()
        await run.succeeded()

        async def ended(reader: asyncio.StreamReader, id_: bytes, began: float) -> float:
            while (line := await reader.readline()) and not (
                line.startswith(b"data: ") and id_ in line and b'"state":"succeeded"' in line
            ):
                pass
            assert line, "the stream has ended"
            return (time.perf_counter() - began) * 1e3

        followers = [reader for reader, _ in readers[tenant::TENANTS]]
        id_ = run.execution_id.encode()
        async with asyncio.timeout(60):
            taken += await asyncio.gather(*(ended(reader, id_, began) for reader in followers))
        await asyncio.sleep(INTERVAL)
    return taken


async def _noise(publisher: Publisher) -> None:
    number = 0
    while True:
        run = publisher.execution("noise", f"00000000-0000-5000-8000-{number % 5_000:012d}")
        await run.progressed(percent=number % 100)
        number += 1
        await asyncio.sleep(1 / OTHERS)


async def _open(url: str, tenant: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A stream of a tenant that is ready."""
    where = urlsplit(url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    writer.write(
        f"GET /v1/tenants/{tenant}/stream HTTP/1.1\r\nHost: {where.netloc}\r\n\r\n".encode()
    )
    while b"event: ready" not in await reader.readline():
        pass
    return reader, writer


def _at(values: Iterable[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


async def main() -> None:
    """Measure on a stack of its own, and print."""
    with tempfile.TemporaryDirectory(prefix="milepost-bench-") as name:
        async with running(Path(name)) as stack:
            for figure, values in (await measure(stack)).items():
                print(
                    f"{figure}: median {median(values):,.1f}, "
                    f"99 % {_at(values, 0.99):,.1f}, most {max(values):,.1f}"
                )


if __name__ == "__main__":
    asyncio.run(main())
