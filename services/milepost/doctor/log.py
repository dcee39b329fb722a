"""The log of raw records: has it partitions for what comes, and what of it could not be folded?"""

from datetime import UTC, datetime, timedelta
from typing import Final

from milepost.doctor.findings import Finding, error, ok, warning
from milepost.doctor.stack import Stack
from milepost.projections import migrate

_MAINTAIN: Final = "milepost db maintain"
# More than that are not counted.
_MOST: Final = 10_000
_RECENT: Final = timedelta(days=1)


async def months(stack: Stack) -> list[Finding]:
    """This month and those after it have partitions, and nothing lies in the default one."""
    wanted = migrate.months(datetime.now(UTC))
    row = await stack.row("months", [month.name for month in wanted], _MOST)
    findings = []
    if wanted[0].name in row["missing"]:
        found = f"event_log has no partition for this month, {wanted[0].name}"
        findings.append(error(found, stack.postgres, _MAINTAIN))
    if ahead := [name for name in row["missing"] if name != wanted[0].name]:
        found = f"event_log has no partition for the coming months: {', '.join(ahead)}"
        findings.append(warning(found, stack.postgres, _MAINTAIN))
    if row["stray"]:
        found = (
            f"{_counted(row['stray'])} records lie in event_log_default, of the months"
            f" {', '.join(row['stray_months'])}: their month has no partition"
        )
        coming = {f"{month.first:%Y-%m}" for month in wanted}
        remedy = (
            _MAINTAIN
            if coming.intersection(row["stray_months"])
            else "Nothing is lost, they are read all the same. Look at the broker's clock:"
            " milepost doctor --only clocks"
        )
        findings.append(warning(found, stack.postgres, remedy))
    return findings or [ok(f"partitions up to {wanted[-1].name}", stack.postgres)]


async def quarantined(stack: Stack) -> list[Finding]:
    """No records of the last day were put aside."""
    rows = await stack.fetch("quarantined", _RECENT, _MOST)
    if not rows:
        return [ok("no records put aside in the last 24 hours", stack.postgres)]
    return [
        warning(
            f"{_counted(row['records'])} records put aside in the last 24 hours: {row['reason']}",
            f"{row['topic']}/{row['partition']}, the last at offset {row['offset']}",
            f"milepost events explain {row['topic']} {row['partition']} {row['offset']}",
        )
        for row in rows
    ]


def _counted(number: int) -> str:
    return f"{number:,}" if number < _MOST else f"{_MOST:,} or more"
