"""The topics: are they as the contract declares them, and are their copies there?"""

from typing import Any

from milepost.doctor.findings import CannotLook, Finding, error, ok, warning
from milepost.doctor.stack import Stack
from milepost.processor.topics import differences

_APPLY = "milepost topics apply"


async def as_declared(stack: Stack) -> list[Finding]:
    """Every topic exists, with the configuration of the contract and enough partitions."""
    async with stack.admin() as admin:
        found = await differences(admin, stack.settings.topics)
        described = await _described(stack, admin)
    findings = [error(str(one), stack.kafka, _APPLY) for one in found]
    events = stack.settings.topics.events
    if events in described:
        wanted = len(described[events])
        findings += [
            warning(
                f"{name} has {len(partitions)} partitions, {events} has {wanted}: consumers of it"
                " cannot share the work as processors do",
                stack.kafka,
                "kafka-topics.sh --bootstrap-server"
                f" {stack.settings.kafka_bootstrap_servers} --alter --topic {name}"
                f" --partitions {wanted} (while no execution runs: their order is by partition)",
            )
            for name, partitions in described.items()
            if len(partitions) < wanted
        ]
    if findings:
        return findings
    partitions = len(described[events])
    return [ok(f"{len(described)} as declared, {partitions} partitions", stack.kafka)]


async def replicated(stack: Stack) -> list[Finding]:
    """Every partition has a leader and all its copies."""
    async with stack.admin() as admin:
        brokers = len((await admin.describe_cluster())["brokers"])
        described = await _described(stack, admin)
    if not described:
        raise CannotLook("because of topics: there is none")
    findings = []
    for name, partitions in described.items():
        numbers = {
            trouble: ", ".join(str(one["partition"]) for one in partitions if is_so(one))
            for trouble, is_so in (("leader", _leaderless), ("copies", _behind), ("only", _single))
        }
        if numbers["leader"]:
            found = f"{name}: no broker leads partition {numbers['leader']}: it takes no records"
            remedy = "Start the brokers that have a copy of it."
            findings.append(error(found, stack.kafka, remedy))
        if numbers["copies"]:
            found = f"{name}: copies of partition {numbers['copies']} are missing or behind"
            remedy = "Start the broker that is away, or look at its load and its disk."
            findings.append(warning(found, stack.kafka, remedy))
        if numbers["only"] and brokers > 1:
            found = f"{name}: partition {numbers['only']} has one copy on {brokers} brokers"
            remedy = "kafka-reassign-partitions.sh, with 3 replicas for each partition"
            findings.append(warning(found, stack.kafka, remedy))
    return findings or [ok("every partition has its leader and its copies", stack.kafka)]


async def _described(stack: Stack, admin: Any) -> dict[str, list[dict[str, Any]]]:
    """The partitions of those declared topics that exist."""
    # To ask for one that does not exist can make it.
    existing = set(await admin.list_topics())
    names = [one.name for one in stack.settings.topics.declared() if one.name in existing]
    described = await admin.describe_topics(names) if names else []
    return {one["topic"]: one["partitions"] for one in described}


def _leaderless(partition: dict[str, Any]) -> bool:
    return bool(partition["leader"] < 0)


def _behind(partition: dict[str, Any]) -> bool:
    return partition["leader"] >= 0 and len(partition["isr"]) < len(partition["replicas"])


def _single(partition: dict[str, Any]) -> bool:
    return len(partition["replicas"]) == 1
