"""Processors: do they run, and has each partition one?"""

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.protocol import ConsumerProtocol
from aiokafka.errors import for_code

from milepost.doctor.findings import Finding, error, ok, span, warning
from milepost.doctor.stack import Stack
from milepost.projections import queries

_START: Final = "Start one: milepost processor (its log says why the last one ended)"


class _Group(NamedTuple):
    """A consumer group: its state, how many members it has, and the partitions that are given to them."""

    state: str
    members: int
    assigned: set[int]


async def alive(stack: Stack) -> list[Finding]:
    """Each partition is a member's, and its end was reported a moment ago."""
    topic = stack.settings.topics.events
    numbers = await stack.events_partitions()
    group = await _group(stack)
    async with stack.pool.acquire() as connection:
        lag = await queries.lag(connection, topic)
        now = await connection.fetchval("SELECT now()")
    if not group.members:
        reported = max((one.measured_at for one in lag if one.measured_at), default=None)
        last = f"; the last one reported {span(now - reported)} ago" if reported else ""
        return [error(f"no processor runs{last}", stack.group, _START)]
    silent = queries.stale(lag, now)
    findings = _unowned(stack, group, numbers)
    if silent:
        found = f"no processor reports on partition {_listed(silent)} any more"
        remedy = "Restart the processors: one of them is stopped, or cut off."
        findings.append(error(found, stack.group, remedy))
    if group.members > len(numbers):
        idle = group.members - len(numbers)
        found = f"{idle} of {group.members} processors have no partition: there are {len(numbers)}"
        findings.append(warning(found, stack.group, f"Run {len(numbers)} processors at most."))
    members = f"{group.members} processor{'s' if group.members > 1 else ''}"
    return findings or [ok(f"{members} for {len(numbers)} partitions", stack.group)]


async def _group(stack: Stack) -> _Group:
    async def ask(admin: AIOKafkaAdminClient) -> Any:
        [answer] = await admin.describe_consumer_groups([stack.settings.consumer_group])
        [(code, *group)] = answer.groups
        if code:
            raise for_code(code)(stack.group)
        return group

    _, state, _, _, members, *_ = await stack.of_group(ask)
    return _Group(state, len(members), set(_assigned(stack.settings.topics.events, members)))


def _assigned(topic: str, members: Iterable[Any]) -> Iterable[int]:
    for *_, assignment in members:
        if assignment:  # empty while the group is being rebalanced
            for tp in ConsumerProtocol.ASSIGNMENT.decode(assignment).partitions():
                if tp.topic == topic:
                    yield tp.partition


def _unowned(stack: Stack, group: _Group, numbers: Iterable[int]) -> list[Finding]:
    if group.state != "Stable":
        found = f"the group is being rebalanced ({group.state})"
        return [warning(found, stack.group, "Wait some seconds: milepost doctor --only processor")]
    if unowned := set(numbers) - group.assigned:
        # As after partitions were added that the processors have not heard of.
        found = f"no processor has partition {_listed(unowned)}"
        return [error(found, stack.group, "Restart the processors.")]
    return []


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(numbers)))
