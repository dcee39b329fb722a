"""`milepost webhooks`: the service that sends them, and the commands for who receives them."""

import json
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Annotated, Any, Final

from cyclopts import App, Parameter

from milepost.cli import deliveries, display, services
from milepost.cli.asking import asked
from milepost.cli.display import Output
from milepost.cli.failures import USAGE, Unable
from milepost.cli.states import Ended
from milepost.client import WebhookEndpoint, WebhookSecret

app: Final = App(
    name="webhooks",
    help="""Send completions to the endpoints of tenants, until SIGTERM or Ctrl-C.

    Prints one JSON line when it reads completions and sends. Start as many as you like: they share
    the work. The commands below manage a tenant's endpoints through the API.

    Example: `MILEPOST_WEBHOOK_KEYS=... milepost webhooks`
    """,
)
app.default(services.webhooks)
app.command(deliveries.send_test, name="test")
app.command(deliveries.deliveries)
app.command(deliveries.delivery)
app.command(deliveries.redeliver)

_COLUMNS: Final = ("ENDPOINT", "URL", "TOLD OF", "STATUS", "DESCRIPTION")

Id = Annotated[str, Parameter(name="ID")]
States = Annotated[list[Ended] | None, Parameter(name="--state", negative=())]
Operations = Annotated[list[str] | None, Parameter(name="--operation", negative=())]
Flag = Annotated[bool, Parameter(negative=())]


@app.command
def create(
    url: Annotated[str, Parameter(name="URL")],
    /,
    *,
    tenant: str,
    states: States = None,
    operations: Operations = None,
    description: str | None = None,
    output: Output = "text",
) -> None:
    """Make an endpoint that is told of completions from now on, and show its signing secret.

    Example: `milepost webhooks create https://example.com/hook --tenant acme --state failed`

    Args:
        url: Where messages are posted to.
        tenant: Whose completions.
        states: Only of executions that ended so; may be repeated.
        operations: Only of this operation; may be repeated.
        description: What it is for.
        output: Lines for people, or one JSON object.
    """
    made = asked(
        lambda api: api.webhooks.create(
            tenant, url, states=states, operations=operations, description=description
        )
    )
    assert made.secret is not None, "a new endpoint has its secret"
    secret = made.secret.get_secret_value()
    if output == "text":
        display.show_facts([*_facts(made), ("secret", secret)])
    else:
        print(json.dumps(made.model_dump(mode="json") | {"secret": secret}))


@app.command(name="list")
def list_(*, tenant: str, output: Output = "text") -> None:
    """List a tenant's endpoints, the oldest first.

    Example: `milepost webhooks list --tenant acme`

    Args:
        tenant: Whose endpoints.
        output: A table for people, one JSON array, or one JSON object a line.
    """
    found = asked(lambda api: api.webhooks.endpoints(tenant))
    rows = (
        (
            one.endpoint_id,
            display.one_line(one.url),
            _told_of(one),
            _status(one),
            display.one_line(one.description or "-"),
        )
        for one in found
    )
    display.show_all(found, output, _COLUMNS, rows)


@app.command
def show(endpoint_id: Id, /, *, tenant: str, output: Output = "text") -> None:
    """Show one endpoint.

    Example: `milepost webhooks show 0b6f0c52-0d1e-4f7a-9a39-6c1f4d0c8f11 --tenant acme`

    Args:
        endpoint_id: The endpoint's id.
        tenant: Whose it is.
        output: Lines for people, or one JSON object.
    """
    _show(asked(lambda api: api.webhooks.endpoint(tenant, endpoint_id)), output)


@app.command
def update(
    endpoint_id: Id,
    /,
    *,
    tenant: str,
    url: str | None = None,
    states: States = None,
    operations: Operations = None,
    all_operations: Flag = False,
    description: str | None = None,
    output: Output = "text",
) -> None:
    """Change what is given, and nothing else.

    Example: `milepost webhooks update 0b6f0c52-0d1e-4f7a-9a39-6c1f4d0c8f11 --tenant acme --state failed`

    Args:
        endpoint_id: The endpoint's id.
        tenant: Whose it is.
        url: Where messages are posted to.
        states: Tell it of executions that ended so; may be repeated.
        operations: Tell it of this operation; may be repeated.
        all_operations: Tell it of every operation.
        description: What it is for; "" takes it away.
        output: Lines for people, or one JSON object.
    """
    if operations and all_operations:
        raise Unable("give --operation or --all-operations, not both.", USAGE)
    given = {"url": url, "states": states, "operations": operations, "description": description}
    changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if all_operations:
        changes["operations"] = None
    if description == "":
        changes["description"] = None
    _show(asked(lambda api: api.webhooks.change(tenant, endpoint_id, **changes)), output)


@app.command
def enable(endpoint_id: Id, /, *, tenant: str, output: Output = "text") -> None:
    """Tell an endpoint of completions again. Those that ended meanwhile are not sent.

    Example: `milepost webhooks enable 0b6f0c52-0d1e-4f7a-9a39-6c1f4d0c8f11 --tenant acme`

    Args:
        endpoint_id: The endpoint's id.
        tenant: Whose it is.
        output: Lines for people, or one JSON object.
    """
    _show(asked(lambda api: api.webhooks.change(tenant, endpoint_id, enabled=True)), output)


@app.command
def disable(endpoint_id: Id, /, *, tenant: str, output: Output = "text") -> None:
    """Send nothing to an endpoint any more; what was waiting is cancelled.

    Example: `milepost webhooks disable 0b6f0c52-0d1e-4f7a-9a39-6c1f4d0c8f11 --tenant acme`

    Args:
        endpoint_id: The endpoint's id.
        tenant: Whose it is.
        output: Lines for people, or one JSON object.
    """
    _show(asked(lambda api: api.webhooks.change(tenant, endpoint_id, enabled=False)), output)


@app.command
def delete(endpoint_id: Id, /, *, tenant: str) -> None:
    """Delete an endpoint and its secrets; what was sent to it stays listed.

    Example: `milepost webhooks delete 0b6f0c52-0d1e-4f7a-9a39-6c1f4d0c8f11 --tenant acme`

    Args:
        endpoint_id: The endpoint's id.
        tenant: Whose it is.
    """
    asked(lambda api: api.webhooks.delete(tenant, endpoint_id))


@app.command
def secret(endpoint_id: Id, /, *, tenant: str, output: Output = "text") -> None:
    """Show the secret that messages are signed with.

    Example: `milepost webhooks secret 0b6f0c52-0d1e-4f7a-9a39-6c1f4d0c8f11 --tenant acme`

    Args:
        endpoint_id: The endpoint's id.
        tenant: Whose it is.
        output: The secret alone, or one JSON object.
    """
    _show_secret(asked(lambda api: api.webhooks.secret(tenant, endpoint_id)), output)


@app.command
def rotate(
    endpoint_id: Id,
    /,
    *,
    tenant: str,
    overlap: timedelta | None = None,
    output: Output = "text",
) -> None:
    """Sign with a new secret and show it; for a while, messages are signed with the old one as well.

    Example: `milepost webhooks rotate 0b6f0c52-0d1e-4f7a-9a39-6c1f4d0c8f11 --tenant acme --overlap 2h`

    Args:
        endpoint_id: The endpoint's id.
        tenant: Whose it is.
        overlap: How long the old secret stays valid, at most 7d; 0s ends it at once. [default: 24h]
        output: The secret alone, or one JSON object.
    """
    seconds = None if overlap is None else round(overlap.total_seconds())
    rotated = asked(
        lambda api: api.webhooks.rotate_secret(tenant, endpoint_id, overlap_seconds=seconds)
    )
    _show_secret(rotated, output)


def _show(endpoint: WebhookEndpoint, output: str) -> None:
    if output == "text":
        display.show_facts(_facts(endpoint))
    else:
        print(endpoint.model_dump_json(exclude={"secret"}))


def _show_secret(found: WebhookSecret, output: str) -> None:
    text = found.secret.get_secret_value()
    document = found.model_dump(mode="json") | {"secret": text}
    print(text if output == "text" else json.dumps(document))


def _facts(endpoint: WebhookEndpoint) -> Iterator[tuple[str, str]]:
    yield "endpoint", endpoint.endpoint_id
    yield "url", endpoint.url
    if endpoint.description:
        yield "description", endpoint.description
    yield "told of", _told_of(endpoint)
    yield "status", _status(endpoint)
    yield "created", display.moment(endpoint.created_at)


def _told_of(endpoint: WebhookEndpoint) -> str:
    operations: Sequence[str] = endpoint.operations or ("all operations",)
    return f"{', '.join(endpoint.states)} of {', '.join(operations)}"


def _status(endpoint: WebhookEndpoint) -> str:
    if endpoint.disabled_at is not None:
        return f"disabled {display.moment(endpoint.disabled_at)} ({endpoint.disabled_reason})"
    if endpoint.failing_since is not None:
        return f"failing since {display.moment(endpoint.failing_since)}"
    return "enabled"
