"""Connections that are gone without a word are not asked twice."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from aiokafka.conn import AIOKafkaConnection, create_conn
from aiokafka.protocol.metadata import MetadataRequest

from faults.proxy import Proxy, proxied
from milepost.client import dead_connections
from signals import DEADLINE


@pytest.fixture
async def proxy(kafka: str) -> AsyncIterator[Proxy]:
    dead_connections.install()
    async with proxied(int(kafka.rpartition(":")[2])) as proxy:
        yield proxy


async def connected(proxy: Proxy, request_timeout: float) -> AIOKafkaConnection:
    return await create_conn(
        "127.0.0.1", proxy.port, request_timeout_ms=int(request_timeout * 1_000)
    )


async def test_a_request_for_metadata_that_is_not_answered(proxy: Proxy) -> None:
    connection = await connected(proxy, 0.5)
    assert (await connection.send(MetadataRequest([]))).brokers
    with proxy.half_open(), pytest.raises(TimeoutError):
        await connection.send(MetadataRequest([]))
    assert not connection.connected()


async def test_a_request_that_is_called_off_before_its_time_is_up(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = await connected(proxy, DEADLINE)
    monkeypatch.setattr(dead_connections, "SILENCE", 0.2)
    with proxy.half_open():
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(connection.send(MetadataRequest([])), 0.01)
        assert connection.connected()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(connection.send(MetadataRequest([])), 0.4)
    assert not connection.connected()


async def test_a_new_one_that_nothing_comes_from(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_connections, "SILENCE", 0.2)
    began = time.monotonic()
    with proxy.half_open(), pytest.raises(TimeoutError):
        await connected(proxy, DEADLINE)
    assert time.monotonic() - began < DEADLINE / 2
