"""How long the oldest record has waited: to be folded, and then to be sent out."""

from datetime import UTC, datetime
from typing import Any, Final

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupCoordinatorNotAvailableError
from faust.types import TP

from milepost.doctor.findings import CannotLook, Finding, error, ok, span, warning
from milepost.doctor.stack import LATE, Stack
from milepost.processor.agreement import known_relayed, relay_unknown

_SLOW: Final = (
    "Look at the processors: `milepost doctor --only processor`, their log and their load;"
    " start more of them, up to one per partition."
)


async def fold(stack: Stack) -> list[Finding]:
    """Records are folded soon after the broker got them."""
    positions = await _positions(stack)
    offsets = {tp: next_offset for tp, (next_offset, _) in positions.items()}
    async with stack.reader() as reader:
        ends = await reader.ends(offsets)
        behind = {tp: ends[tp] - offset for tp, offset in offsets.items() if ends[tp] > offset}
        # Where a transaction's marker is instead of a record, nothing is said of the age.
        first = await reader.records({tp: offsets[tp] for tp in behind})
    waiting = sum(behind.values())
    recorded = [
        (datetime.fromtimestamp(one.timestamp / 1_000, UTC), tp.partition)
        for tp, one in first.items()
    ]
    oldest, late = min(recorded, default=(datetime.now(UTC), None))
    if (age := datetime.now(UTC) - oldest) > LATE:
        found = f"{waiting:,} records wait to be folded, the oldest for {span(age)}, in partition {late}"
        return [warning(found, f"topic {stack.settings.topics.events}", _SLOW)]
    return [ok(f"{waiting:,} records wait to be folded", stack.postgres)]


async def relay(stack: Stack) -> list[Finding]:
    """What the fold has to tell is on the topics soon after."""
    positions = await _positions(stack)
    group = await _group_offsets(stack, list(positions))
    async with stack.reader() as reader:
        beginnings = await reader.beginnings(positions)
    relayed = {
        tp: known_relayed(next_offset, noted, group.get(tp), beginnings[tp])
        for tp, (next_offset, noted) in positions.items()
    }
    findings = [
        error(*_parts(stack, tp, positions[tp][0]))
        for tp, known in relayed.items()
        if known is None
    ]
    known = {tp.partition: offset for tp, offset in relayed.items() if offset is not None}
    row = await stack.row(
        "unrelayed", stack.settings.topics.events, list(known), list(known.values())
    )
    if row["waited"] is not None and row["waited"] > LATE:
        found = (
            f"completions and commands wait to be sent, the oldest for {span(row['waited'])}:"
            f" partition {', '.join(map(str, row['partitions']))}"
        )
        findings.append(warning(found, stack.group, _SLOW))
    return findings or [ok("completions and commands are sent as they come", stack.group)]


async def _positions(stack: Stack) -> dict[TP, tuple[int, int | None]]:
    """The next offset and the noted relay offset of each partition that the broker has."""
    topic = stack.settings.topics.events
    numbers = await stack.events_partitions()
    rows = await stack.fetch("positions", topic)
    found = {
        TP(topic, row["partition"]): (row["next_offset"], row["relayed"])
        for row in rows
        if row["partition"] in numbers
    }
    if not found:
        raise CannotLook("no processor has taken a partition yet")
    return found


async def _group_offsets(stack: Stack, partitions: list[TP]) -> dict[TP, int]:
    """What the group has committed, where it has."""
    names = [TopicPartition(*tp) for tp in partitions]

    async def ask(admin: AIOKafkaAdminClient) -> Any:
        group = stack.settings.consumer_group
        offsets = await admin.list_consumer_group_offsets(group, partitions=names)
        if set(names) - offsets.keys():
            # How the client shows an error of the whole group: its coordinator is not there yet.
            raise GroupCoordinatorNotAvailableError(stack.group)
        return offsets

    offsets = await stack.of_group(ask)
    return {TP(*name): offsets[name].offset for name in names if offsets[name].offset >= 0}


def _parts(stack: Stack, tp: TP, next_offset: int) -> tuple[str, str, str]:
    unknown = relay_unknown(tp, next_offset)
    return unknown.found, stack.group, unknown.remedy
