"""The commands that ask the API about resources."""

from typing import Annotated, Final

from cyclopts import App, Parameter

from milepost.cli import display
from milepost.cli.asking import asked
from milepost.cli.display import Output
from milepost.client import TenantResource

app: Final = App(
    name="resources",
    help="""Look at what executions made, and at what they left behind.

    Example: `milepost resources orphans --tenant acme`
    """,
)


@app.command
def orphans(*, tenant: str, output: Output = "text") -> None:
    """List what failed and cancelled executions left behind and nobody has released since.

    Example: `milepost resources orphans --tenant acme -o jsonl`

    Args:
        tenant: Whose resources.
        output: A table for people, one JSON array, or one JSON object a line.
    """
    found = asked(lambda api: api.orphans(tenant))
    rows = [(*_resource(one), _state(one), *_reported(one)) for one in found]
    columns = ("KIND", "ID", "PROVIDER", "REGION", "LEFT BY", "EXECUTION", "OPERATION", "LAST SEEN")
    display.show_all(found, output, columns, rows)


@app.command
def history(
    kind: Annotated[str, Parameter(name="KIND")],
    resource_id: Annotated[str, Parameter(name="ID")],
    /,
    *,
    provider: str | None = None,
    region: str | None = None,
    output: Output = "text",
) -> None:
    """Show which executions made, changed and released a resource, and whose they are.

    Example: `milepost resources history k8s.pod shop/web-0`

    Args:
        kind: The resource's kind, e.g. ecs.task.
        resource_id: The resource's id, e.g. its ARN.
        provider: Only the resource of this provider.
        region: Only the resource in this region.
        output: A table for people, one JSON array, or one JSON object a line.
    """
    found = asked(
        lambda api: api.resource_history(kind, resource_id, provider=provider, region=region)
    )
    rows = [
        (
            display.moment(one.occurred_at),
            one.action or "-",
            one.status or "-",
            one.tenant,
            one.execution_id,
            one.operation or "-",
            _state(one),
        )
        for one in found
    ]
    columns = ("TIME", "ACTION", "STATUS", "TENANT", "EXECUTION", "OPERATION", "STATE")
    display.show_all(found, output, columns, rows)


def _state(one: TenantResource) -> str:
    return one.state.value if one.state else "-"


def _resource(one: TenantResource) -> tuple[str, str, str, str]:
    return one.kind, one.id, one.provider or "-", one.region or "-"


def _reported(one: TenantResource) -> tuple[str, str, str]:
    return one.execution_id, one.operation or "-", display.moment(one.occurred_at)
