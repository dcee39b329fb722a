"""`milepost processor`, `api`, `topics apply` and `db migrate` as the processes that they are."""

import asyncio

from conftest import StartService


async def test_processor_and_api_start_and_end_cleanly(service: StartService) -> None:
    processor, api = await asyncio.gather(service("processor"), service("api"))
    assert processor.ready == {"processor": "ready", "partitions": [0, 1, 2, 3]}
    assert api.ready["api"].startswith("http://127.0.0.1:")
    assert [await processor.stop(), await api.stop()] == [0, 0]
