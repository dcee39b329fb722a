"""The commands of `milepost webhooks` about what was sent: look at it, send it again, send a test."""

import json
from collections.abc import Iterator
from typing import Annotated, Final, Literal

from cyclopts import Parameter
from cyclopts.types import PositiveInt

from milepost.cli import display
from milepost.cli.asking import asked
from milepost.cli.display import Output
from milepost.cli.failures import USAGE, Unable
from milepost.cli.times import When, meant
from milepost.client import MilepostClient, WebhookAttempt, WebhookDelivery

_COLUMNS: Final = ("DELIVERY", "CREATED", "TYPE", "EXECUTION", "STATUS", "ATTEMPTS", "LAST ANSWER")

Status = Literal["pending", "delivered", "failed", "cancelled"]
EndedStatus = Literal["delivered", "failed", "cancelled"]


def send_test(
    endpoint_id: Annotated[str, Parameter(name="ID")], /, *, tenant: str, output: Output = "text"
) -> None:
    """Send a test message to an endpoint; `milepost webhooks delivery` shows how it went.

    Example: `milepost webhooks test 0b6f0c52-0d1e-4f7a-9a39-6c1f4d0c8f11 --tenant acme`

    Args:
        endpoint_id: The endpoint's id.
        tenant: Whose it is.
        output: Lines for people, or one JSON object.
    """
    _show(asked(lambda api: api.webhooks.test(tenant, endpoint_id)), output)


def deliveries(
    *,
    tenant: str,
    endpoint: str | None = None,
    execution: str | None = None,
    status: Status | None = None,
    since: When | None = None,
    before: When | None = None,
    limit: PositiveInt = 100,
    output: Output = "text",
) -> None:
    """List what was sent to a tenant's endpoints, the newest last.

    Example: `milepost webhooks deliveries --tenant acme --status failed --since 24h`

    Args:
        tenant: Whose endpoints.
        endpoint: Only to the endpoint with this id.
        execution: Only of the execution with this id.
        status: Only those in this status.
        since: Only those created then or later: how long ago, e.g. 2h, or a time.
        before: Only those created earlier: how long ago, or a time.
        limit: At most so many, the newest.
        output: A table for people, one JSON array, or one JSON object a line.
    """

    async def look(api: MilepostClient) -> list[WebhookDelivery]:
        found: list[WebhookDelivery] = []
        newest_first = api.webhooks.deliveries(
            tenant,
            endpoint_id=endpoint,
            execution_id=execution,
            status=status,
            since=meant(since),
            before=meant(before),
            page_size=min(limit, 100),
        )
        async for one in newest_first:
            found.append(one)
            if len(found) == limit:
                break
        return found[::-1]

    found = asked(look)
    rows = (
        (
            one.delivery_id,
            display.moment(one.created_at),
            one.type,
            one.execution_id or "-",
            one.status,
            str(one.attempts),
            _answer(one.last_attempt),
        )
        for one in found
    )
    display.show_all(found, output, _COLUMNS, rows)


def delivery(
    delivery_id: Annotated[str, Parameter(name="ID")], /, *, tenant: str, output: Output = "text"
) -> None:
    """Show one delivery: what it sends, and every attempt.

    Example: `milepost webhooks delivery 5c3a2f2e-3d5b-4c58-8a53-7b1a8f2e0f11 --tenant acme`

    Args:
        delivery_id: The delivery's id.
        tenant: Whose it is.
        output: Lines for people, or one JSON object.
    """
    _show(asked(lambda api: api.webhooks.delivery(tenant, delivery_id)), output)


def redeliver(
    delivery_id: Annotated[str | None, Parameter(name="ID")] = None,
    /,
    *,
    tenant: str,
    endpoint: str | None = None,
    since: When | None = None,
    before: When | None = None,
    status: Annotated[list[EndedStatus] | None, Parameter(negative=())] = None,
    output: Output = "text",
) -> None:
    """Send one delivery again, or what an endpoint did not get since a time.

    Example: `milepost webhooks redeliver --tenant acme --endpoint 0b6f0c52-0d1e-4f7a-9a39-6c1f4d0c8f11
    --since 2h`

    Args:
        delivery_id: The delivery's id.
        tenant: Whose it is.
        endpoint: Without a delivery: the id of the endpoint to send to again.
        since: What was created then or later: how long ago, e.g. 2h, or a time.
        before: What was created earlier: how long ago, or a time.
        status: Only what ended so, may be repeated. [default: failed and cancelled]
        output: Lines for people, or one JSON object.
    """
    if delivery_id is not None:
        if endpoint or since or before or status:
            raise Unable("give a delivery's id, or --endpoint and --since; not both.", USAGE)
        _show(asked(lambda api: api.webhooks.redeliver(tenant, delivery_id)), output)
        return
    start = meant(since)
    if endpoint is None or start is None:
        raise Unable("give a delivery's id, or --endpoint and --since.", USAGE)
    again = asked(
        lambda api: api.webhooks.redeliver_since(
            tenant, endpoint, start, before=meant(before), statuses=status
        )
    )
    if output != "text":
        print(again.model_dump_json())
    else:
        more = "; there are more: run this again" if again.more else ""
        print(f"{again.redelivered} due again{more}")


def _show(shown: WebhookDelivery, output: str) -> None:
    if output == "text":
        display.show_facts(_facts(shown))
    else:
        print(shown.model_dump_json())


def _facts(shown: WebhookDelivery) -> Iterator[tuple[str, str]]:
    yield "delivery", shown.delivery_id
    yield "endpoint", shown.endpoint_id
    yield "message", f"{shown.message_id} {shown.type}"
    if shown.execution_id:
        yield "execution", shown.execution_id
    yield "status", shown.status
    yield "created", display.moment(shown.created_at)
    if shown.due_at is not None:
        yield "next try", display.moment(shown.due_at)
    if shown.ended_at is not None:
        yield "ended", display.moment(shown.ended_at)
    for attempt in shown.history:
        body = f": {attempt.answer}" if attempt.answer else ""
        seconds = display.seconds(attempt.duration_seconds)
        yield (
            "attempt",
            f"{display.moment(attempt.attempted_at)} {seconds} {_answer(attempt)}{body}",
        )
    yield "payload", json.dumps(shown.payload, ensure_ascii=False)


def _answer(attempt: WebhookAttempt | None) -> str:
    if attempt is None:
        return "-"
    answers = [str(attempt.status_code)] if attempt.status_code is not None else []
    return ", ".join([*answers, *([display.one_line(attempt.error)] if attempt.error else [])])
