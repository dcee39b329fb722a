"""Connections that are gone without a word are not asked twice."""

import pytest
from aiokafka.conn import create_conn
from aiokafka.protocol.metadata import MetadataRequest

from faults.proxy import proxied
from milepost.client import dead_connections


async def test_a_request_for_metadata_that_is_not_answered(kafka: str) -> None:
    dead_connections.install()
    async with proxied(int(kafka.rpartition(":")[2])) as proxy:
        connection = await create_conn("127.0.0.1", proxy.port, request_timeout_ms=500)
        assert (await connection.send(MetadataRequest([]))).brokers
        with proxy.half_open(), pytest.raises(TimeoutError):
            await connection.send(MetadataRequest([]))
        assert not connection.connected()
