"""The fold of links: which rows of `execution_links` an execution's new state calls for."""

from typing import NamedTuple

from milepost.projections.execution import Execution


class LinkRow(NamedTuple):
    """One link of one execution, as the table has it; `first_recorded` in microseconds since 1970."""

    tenant: str
    target: str
    first_recorded: int
    execution_id: str
    relation: str


def learned(before: Execution | None, after: Execution) -> list[LinkRow]:
    """The rows to add: those of the request, when it becomes known. It never changes afterwards."""
    told = after.facts.get("request")
    if told is None or not told[1]["links"] or (before and "request" in before.facts):
        return []
    return [
        LinkRow(after.tenant, target, after.first_recorded, after.execution_id, relation)
        for relation, target in told[1]["links"].items()
    ]
