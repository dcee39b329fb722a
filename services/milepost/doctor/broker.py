"""The broker: does it answer, and can it do what Milepost needs?"""

from collections.abc import Collection
from typing import Final

from aiokafka.errors import KafkaConnectionError

from milepost.doctor.findings import Finding, error, ok
from milepost.doctor.stack import Stack

# What exactly once stands on, as the protocol numbers it.
_NEEDED: Final = {22: "InitProducerId", 26: "EndTxn", 28: "TxnOffsetCommit"}


async def reachable(stack: Stack) -> list[Finding]:
    """A broker answers, and has transactions."""
    try:
        async with stack.admin() as admin:
            cluster = await admin.describe_cluster()
            # aiokafka keeps what a broker says it can do with the connection.
            client = admin._client
            connection = await client._get_conn(client.get_random_node())
            supported = set(connection._versions) if connection else set()
    except KafkaConnectionError:
        return [
            error(
                "no broker answered",
                stack.kafka,
                "Start it; `milepost up` starts one on this machine."
                " MILEPOST_KAFKA_BOOTSTRAP_SERVERS says where to look.",
            )
        ]
    if missing := lacking(supported):
        found = f"the broker has no transactions: it does not know {', '.join(missing)}"
        return [error(found, stack.kafka, "Use Apache Kafka 4.0 or newer.")]
    brokers = len(cluster["brokers"])
    return [ok(f"{brokers} broker{'s' if brokers > 1 else ''} answered", stack.kafka)]


def lacking(supported: Collection[int]) -> list[str]:
    """The requests that Milepost needs and the broker, which knows those of these numbers, has not."""
    return [name for number, name in _NEEDED.items() if number not in supported]
