"""The fold of resources: which rows of `resources` an execution's new state calls for."""

from typing import Any, NamedTuple

from milepost.projections.execution import CANCELLED, FAILED, Execution, Facts, ResourceKey
from milepost.schemas.values import RELEASED


class ResourceRow(NamedTuple):
    """One resource within one execution, as the table has it; times in microseconds since 1970.

    `provider` is empty where the report left it to the execution's provider; `effective_provider` is
    then that one, None while it is not known. `left_by` is the state of an execution that failed or
    was cancelled.
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
    effective_provider: str | None
    left_by: str | None


def changed(before: Execution | None, after: Execution) -> list[ResourceRow]:
    """The rows that differ between two states of one execution."""
    if not after.resources:
        return []
    told = _told_of_all(after)
    held = before.resources if before and _told_of_all(before) == told else {}
    return [
        _row(after, name, facts, *told)
        for name, facts in after.resources.items()
        if held.get(name) != facts
    ]


def _told_of_all(execution: Execution) -> tuple[str | None, str | None]:
    """What every row says of its execution: the provider, and how it ended without success."""
    request = execution.fact("request")
    state = execution.state
    return (request and request["provider"], state if state in (FAILED, CANCELLED) else None)


def _row(
    execution: Execution,
    name: ResourceKey,
    facts: Facts,
    its_provider: str | None,
    left_by: str | None,
) -> ResourceRow:
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
        provider or its_provider,
        left_by,
    )
