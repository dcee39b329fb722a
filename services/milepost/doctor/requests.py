"""The API's ledger: has everything that was accepted gone to the broker?"""

from milepost.doctor.findings import Finding, error, ok, span
from milepost.doctor.stack import LATE, Stack


async def published(stack: Stack) -> list[Finding]:
    """No request waits to be published: any API process sweeps after some seconds."""
    row = await stack.row("unpublished", LATE)
    if not row["requests"]:
        return [ok("everything accepted is published", stack.postgres)]
    found = (
        f"{row['requests']:,} accepted requests are not published, the oldest for"
        f" {span(row['longest'])}: their executions stay pending"
    )
    remedy = "Start an API that reaches the broker, it publishes them: milepost api"
    return [error(found, "table requests", remedy)]
