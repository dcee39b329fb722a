"""Webhooks: are they sent, and do they arrive?"""

from milepost.doctor.findings import Finding, error, ok, span, warning
from milepost.doctor.stack import LATE, Stack

_SHOWN = 5


async def delivered(stack: Stack) -> list[Finding]:
    """What is due is sent, and no endpoint has failed for long or was disabled for it."""
    row = await stack.row("webhooks_due", LATE)
    findings = []
    if row["deliveries"]:
        found = f"{row['deliveries']:,} deliveries are due, the oldest for {span(row['longest'])}"
        remedy = "Start a webhook worker, or more of them: milepost webhooks"
        findings.append(error(found, "table webhook_deliveries", remedy))
    rows = await stack.fetch("webhook_endpoints")
    for one in rows[:_SHOWN]:
        where = f"endpoint {one['endpoint_id']} of {one['tenant']}"
        named = f"{one['endpoint_id']} --tenant {one['tenant']}"
        if one["reason"]:
            found, remedy = f"disabled: {one['reason']}", f"milepost webhooks enable {named}"
        else:
            found = f"nothing sent to it has arrived for {span(one['failing'])}"
            remedy = f"milepost webhooks show {named}"
        findings.append(warning(found, where, remedy))
    if more := rows[_SHOWN:]:
        found = f"{len(more)} more endpoints are disabled or failing"
        remedy = "milepost webhooks list --tenant TENANT"
        findings.append(warning(found, "table webhook_endpoints", remedy))
    return findings or [ok("what is due is sent", stack.postgres)]
