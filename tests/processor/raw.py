"""Batches of records as bytes, to send what no client would."""

import gzip
import struct
from collections.abc import Sequence

from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c

from milepost.schemas.binding import Encoded
from milepost.settings import Settings

# Written in a header's name: becomes two bytes that are not UTF-8.
NOT_UTF8 = "@@"
# Where the header of a batch has what.
_LENGTH, _CRC, _ATTRIBUTES, _RECORDS = 8, 17, 21, 61


def batch(records: Sequence[Encoded], *, offset: int = 0, compressed: bool = False) -> bytes:
    """A batch of the present format, its checksum right."""
    builder = DefaultRecordBatchBuilder(2, 0, False, -1, -1, -1, 1 << 20)
    for index, (key, value, headers) in enumerate(records):
        builder.append(index, 1_000, key, value, headers)
    data = bytearray(builder.build()).replace(NOT_UTF8.encode(), b"\xff\xfe")
    if compressed:
        data[_RECORDS:] = gzip.compress(data[_RECORDS:])
        struct.pack_into(">i", data, _LENGTH, len(data) - _LENGTH - 4)
        struct.pack_into(">h", data, _ATTRIBUTES, 1)
    struct.pack_into(">q", data, 0, offset)
    struct.pack_into(">I", data, _CRC, calc_crc32c(bytes(data[_ATTRIBUTES:])))
    return bytes(data)


async def send_raw(settings: Settings, data: bytes, *, partition: int) -> None:
    """Append one batch to the events topic, as it is."""
    topic = settings.topics.events
    client = AIOKafkaClient(bootstrap_servers=settings.kafka_bootstrap_servers)
    await client.bootstrap()
    try:
        await client._wait_on_metadata(topic)
        leader = next(
            metadata.leader
            for metadata in client.cluster._partitions[topic].values()
            if metadata.partition == partition
        )
        request = ProduceRequest(None, -1, 10_000, [(topic, [(partition, data)])])
        response = await client.send(leader, request)
        [(_, [(_, code, *_)])] = response.topics
        assert code == 0
    finally:
        await client.close()
