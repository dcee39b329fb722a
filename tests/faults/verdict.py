"""Whether what Milepost holds and has told is what the records on the topic amount to."""

import json
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

import asyncpg

from faults.system import System
from milepost.projections.webhooks import CHANNEL
from oracle import Recomputed
from webhooks.receiver import Call


class Verdict(NamedTuple):
    """Events, completions and commands that are missing, and those that are there more than once."""

    lost: int
    repeated: int


async def judge(system: System, told: Recomputed, slug: str) -> Verdict:
    """Compare everything of the tenants that begin with `slug`; fails at any difference.

    `told` is what the independent oracle makes of their records.
    """
    async with _looking(system) as look:
        log = await look.fetch(
            'SELECT partition, "offset", disposition FROM event_log WHERE starts_with(tenant, $1)',
            f"{slug}-",
        )
        executions = await look.fetch(
            "SELECT tenant, execution_id::text, state, ordinal FROM executions"
            " WHERE starts_with(tenant, $1)",
            f"{slug}-",
        )
        activity = await look.fetch(
            "SELECT tenant, sum(pending)::int AS pending, sum(running)::int AS running,"
            " sum(succeeded)::int AS succeeded, sum(failed)::int AS failed,"
            " sum(cancelled)::int AS cancelled FROM tenant_activity"
            " WHERE starts_with(tenant, $1) GROUP BY tenant",
            f"{slug}-",
        )
        resources = await look.fetch(
            "SELECT tenant, execution_id::text, count(*)::int FROM resources"
            " WHERE starts_with(tenant, $1) GROUP BY 1, 2",
            f"{slug}-",
        )
    dispositions = {(row["partition"], row["offset"]): row["disposition"] for row in log}
    counted = {(row["tenant"], row["execution_id"]): row["ordinal"] for row in executions}
    reported = {name: len(one.reports) for name, one in told.executions.items()}
    heard, owed = _heard(system, slug), Counter[tuple[str, ...]](told.completions)
    owed.update(told.commands)
    verdict = Verdict(
        lost=len(told.expected.keys() - dispositions.keys())
        + (Counter(reported) - Counter(counted)).total()
        + (owed - heard).total(),
        repeated=(Counter(counted) - Counter(reported)).total() + (heard - owed).total(),
    )
    assert verdict == Verdict(lost=0, repeated=0)
    # Every aggregate, not only its size.
    assert dispositions.keys() == told.expected.keys()
    assert all(disposition[0] in told.expected[at] for at, disposition in dispositions.items())
    states = {(row["tenant"], row["execution_id"]): row["state"] for row in executions}
    assert states == {name: one.state for name, one in told.executions.items()}
    counts = {
        (row["tenant"], state): count
        for row in activity
        for state, count in row.items()
        if state != "tenant" and count
    }
    assert counts == told.states
    assert {(tenant, id_): count for tenant, id_, count in resources} == {
        name: count
        for name, one in told.executions.items()
        if (count := len(one.view["resources"]))
    }
    return verdict


def judge_calls(calls: Sequence[Call], owed: set[str]) -> None:
    """Each completion was delivered; what was sent again had the same id and the same body."""
    bodies = {call.id: call.body for call in calls}
    assert all(call.body == bodies[call.id] for call in calls)
    told = Counter(json.loads(body)["data"]["execution_id"] for body in bodies.values())
    assert told == Counter(owed)


async def pass_leases(system: System, tenant: str) -> None:
    """What a killed worker had taken is due when its lease is over: now."""
    async with _looking(system) as look:
        await look.execute(
            "WITH due AS (UPDATE webhook_deliveries SET due_at = now()"
            " WHERE tenant = $1 AND status = 'pending') SELECT pg_notify($2, $1)",
            *(tenant, CHANNEL),
        )


def _heard(system: System, slug: str) -> Counter[tuple[str, ...]]:
    heard = system.outcomes
    return Counter(
        {
            told: count
            for told, count in [*heard.completions.items(), *heard.commands.items()]
            if told[-2].startswith(f"{slug}-")
        }
    )


@asynccontextmanager
async def _looking(system: System) -> AsyncIterator[asyncpg.Connection]:
    look = await system.look()
    try:
        yield look
    finally:
        await look.close()
