"""Positions: does the broker have the records that Postgres says were folded, and the next ones?"""

from faust.types import TP

from milepost.doctor.findings import CannotLook, Finding, error, ok
from milepost.doctor.stack import Stack
from milepost.processor.agreement import disagreements
from milepost.projections import store


async def agreeing(stack: Stack) -> list[Finding]:
    """Each position is within the broker's range, and the record before it is the one that was folded."""
    topic = stack.settings.topics.events
    # Before the broker is asked: what is folded meanwhile must not look as if it were not there.
    rows = await stack.fetch("positions", topic)
    if not rows:
        raise CannotLook("no processor has taken a partition yet")
    numbers = await stack.events_partitions()
    offsets = {TP(topic, row["partition"]): row["next_offset"] for row in rows}
    held = {tp: offset for tp, offset in offsets.items() if tp.partition in numbers}
    async with await store.connect(stack.settings.dsn, size=1) as pool, stack.reader() as reader:
        last_folded = store.Store(pool, stack.settings.topics).last_folded
        beginnings = await reader.beginnings(held)
        found = await disagreements(reader, last_folded, held, beginnings)
    findings = [error(one.found, _place(topic), one.remedy) for one in found.values()]
    findings += [
        error(
            f"{tp.topic}/{tp.partition}: Postgres has a position, the broker no such partition:"
            " the topic was made anew with fewer",
            _place(topic),
            "Restore the topic, or use another topic prefix and consumer group.",
        )
        for tp in offsets.keys() - held.keys()
    ]
    findings += [
        error(
            f"a processor waits at partition {row['partition']}: {row['problem']}",
            _place(topic),
            "Restart the processors: now the broker agrees with Postgres.",
        )
        for row in rows
        if row["problem"] and TP(topic, row["partition"]) not in found
    ]
    return findings or [ok(f"{len(offsets)} agree with the broker", _place(topic))]


def _place(topic: str) -> str:
    return f"topic {topic}, table positions"
