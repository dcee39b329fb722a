"""The fold of resources: which rows of `resources` an execution's new state calls for."""

from typing import Any, NamedTuple

from milepost.projections.execution import Execution, Facts, ResourceKey
from milepost.schemas.values import RELEASED


class ResourceRow(NamedTuple):
    """One resource within one execution, as the table has it; times in microseconds since 1970.

    `provider` is empty where the report left it to the execution's provider.
    """

    tenant: str
    provider: str
    region: str
    kind: str
    id: str
    execution_id: str
    status: str | None
    released: bool
    attributes: Any
    occurred: int
    recorded: int


def changed(before: Execution | None, after: Execution) -> list[ResourceRow]:
    """The rows whose facts differ between two states of one execution."""
    if not after.resources:
        return []
    held = before.resources if before else {}
    return [
        _row(after, name, facts)
        for name, facts in after.resources.items()
        if held.get(name) != facts
    ]


def _row(execution: Execution, name: ResourceKey, facts: Facts) -> ResourceRow:
    kind, id_, provider, region = name
    status = facts["status"][1] if "status" in facts else None
    return ResourceRow(
        execution.tenant,
        provider,
        region,
        kind,
        id_,
        execution.execution_id,
        status,
        status == RELEASED,
        facts["attributes"][1] if "attributes" in facts else None,
        facts["seen"][0][0],
        execution.recorded,
    )
