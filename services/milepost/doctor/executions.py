"""Executions that nobody has heard of for too long."""

import json

from milepost.doctor.findings import Finding, ok, span, warning
from milepost.doctor.stack import Stack


async def silent(stack: Stack) -> list[Finding]:
    """No execution in flight is silent: its provider reports."""
    rows = await stack.fetch("silent", json.dumps(stack.settings.heartbeats))
    if not rows:
        return [ok("none", stack.postgres)]
    return [
        warning(
            f"{row['executions']:,} executions of {row['tenant']} are silent, the longest for"
            f" {span(row['longest'])}",
            f"tenant {row['tenant']}, e.g. execution {row['execution_id']}",
            f"milepost executions list --tenant {row['tenant']} --silent",
        )
        for row in rows
    ]
