"""The broker: does it answer, is the way there safe, and can it do what Milepost needs?"""

from collections.abc import Collection
from typing import Final

from aiokafka.errors import KafkaConnectionError

from milepost.client import BrokerRefused
from milepost.doctor.findings import Finding, error, ok, warning
from milepost.doctor.stack import Stack
from milepost.loopback import is_loopback

# What exactly once stands on, as the protocol numbers it.
_NEEDED: Final = {22: "InitProducerId", 26: "EndTxn", 28: "TxnOffsetCommit"}


async def reachable(stack: Stack) -> list[Finding]:
    """A broker answers and lets us in, and has transactions."""
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
    except BrokerRefused as refusal:
        found = f"it does not let us in: {refusal.reason}"
        remedy = "Correct MILEPOST_KAFKA_SECURITY_PROTOCOL and the settings that go with it."
        return [error(found, stack.kafka, remedy)]
    if missing := lacking(supported):
        found = f"the broker has no transactions: it does not know {', '.join(missing)}"
        return [error(found, stack.kafka, "Use Apache Kafka 4.0 or newer.")]
    protocol = stack.settings.kafka_security_protocol
    if not protocol.endswith("SSL") and (far := _elsewhere(stack)):
        found = f"what is sent to {', '.join(far)} is not encrypted ({protocol})"
        remedy = "MILEPOST_KAFKA_SECURITY_PROTOCOL=SSL or SASL_SSL, with a listener of the broker's"
        return [warning(found, stack.kafka, remedy)]
    brokers = len(cluster["brokers"])
    return [ok(f"{brokers} broker{'s' if brokers > 1 else ''} answered, {protocol}", stack.kafka)]


def lacking(supported: Collection[int]) -> list[str]:
    """The requests that Milepost needs and the broker, which knows those of these numbers, has not."""
    return [name for number, name in _NEEDED.items() if number not in supported]


def _elsewhere(stack: Stack) -> list[str]:
    servers = stack.settings.kafka_bootstrap_servers.split(",")
    hosts = {server.strip().rpartition(":")[0].strip("[]") or server for server in servers}
    return sorted(host for host in hosts if not is_loopback(host))
