"""Clocks: do this machine, Postgres and the broker have the same time?"""

from datetime import UTC, datetime, timedelta
from typing import Final

from milepost.doctor.findings import Finding, ok, span, warning
from milepost.doctor.stack import Stack
from milepost.projections.webhooks import CLOCKS

# Records of the API's that are looked at, of each partition: few among those that were folded last.
_RECORDS: Final = 500
_SYNCHRONISE: Final = "Have both machines set their clocks by NTP (chronyc tracking says whether)."


async def agreeing(stack: Stack) -> list[Finding]:
    """None differs from Postgres by more than what Milepost allows for."""
    before = datetime.now(UTC)
    theirs = await stack.pool.fetchval("SELECT clock_timestamp()")
    after = datetime.now(UTC)
    row = await stack.row("broker_clock", stack.settings.topics.events, _RECORDS)
    findings = []
    if ours := apart(before - theirs, after - theirs):
        found = f"this machine's clock is {_said(ours)} that of Postgres"
        findings.append(warning(found, stack.postgres, _SYNCHRONISE))
    broker = apart(row["least"] or timedelta.min, row["most"] or timedelta.max)
    if broker:
        found = f"the broker's clock is {_said(broker)} that of Postgres"
        findings.append(warning(found, f"{stack.kafka}, {stack.postgres}", _SYNCHRONISE))
    return findings or [ok(f"within {CLOCKS.total_seconds():g} s of one another", stack.postgres)]


def apart(least: timedelta, most: timedelta) -> timedelta | None:
    """By how much a clock that is ahead by `least` to `most` is certainly wrong; None where it may be right
    enough."""
    if least > CLOCKS:
        return least
    if most < -CLOCKS:
        return most
    return None


def _said(ahead: timedelta) -> str:
    return f"{span(abs(ahead))} {'ahead of' if ahead > timedelta(0) else 'behind'}"
