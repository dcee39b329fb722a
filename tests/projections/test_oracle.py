"""The projections of a real processor agree with an independent recomputation from the topic.

The history is random but always the same one (`MILEPOST_TEST_SEED` gives another): some hundred
executions of several tenants, shuffled, a fifth of the records twice, ends that contradict each other,
keys used again for something else, and records that are no events.
"""

import json
import os
from collections import Counter
from collections.abc import AsyncIterator
from random import Random
from typing import Any

import asyncpg
import orjson
import pytest
from aiokafka.structs import ConsumerRecord

from conftest import StartService
from milepost.projections.view import render
from milepost.schemas.binding import Encoded
from milepost.schemas.examples import structured
from milepost.schemas.values import TERMINAL
from milepost.settings import Settings
from oracle import History, Recomputed, recompute
from processor.history import send
from projections.reports import history
from projections.runs import Run
from signals import following, read, read_all

EXECUTIONS = 400
RESOURCE = ("kind", "id", "provider", "region", "status", "attributes")
SEED = int(os.environ.get("MILEPOST_TEST_SEED", "4"))


def published(random: Random) -> list[Encoded]:
    """What all publishers send, in the order in which the broker gets it."""
    records = []
    for number in range(EXECUTIONS):
        key, tenant = f"key-{number}", f"tenant-{number % 7}"
        run = Run(tenant=tenant, key=key, parameters=random.choice([None, None, {"size": 3}]))
        records += history(random, run, ends=random.choice([1, 1, 1, 3]))
    encoded = [
        Encoded(
            one.key or b"", one.value or b"", [(name, value or b"") for name, value in one.headers]
        )
        for one in records
    ]
    encoded = [structured(one) if random.random() < 0.2 else one for one in encoded]
    encoded += random.choices(encoded, k=len(encoded) // 5)
    encoded += [spoilt(random, one) for one in random.choices(encoded, k=len(encoded) // 20)]
    random.shuffle(encoded)
    return encoded


def spoilt(random: Random, record: Encoded) -> Encoded:
    """The record, but no event any more."""
    key, value, headers = record
    return random.choice(
        [
            Encoded(b"other", value, headers),
            Encoded(key, b"", headers),
            Encoded(key, value[:-1], headers),
            Encoded(key, value.replace(b"occurred_at", b"occurred"), headers),
            Encoded(key, value, [*headers, ("ce_id", b"1"), ("ce_id", b"2")]),
            Encoded(key, value, []),
        ]
    )


@pytest.fixture(scope="module")
async def expected(settings: Settings, service: StartService) -> Recomputed:
    """The oracle's answer, once the processor has folded everything."""
    await send(settings, published(Random(SEED)))
    await service("processor")
    async with following(settings) as positions:
        await positions.reach_end()
    return recompute(await read_all(settings, settings.topics.events))


@pytest.fixture(scope="module")
async def look(expected: Recomputed, settings: Settings) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(settings.dsn)
    yield connection
    await connection.close()


def test_the_history_has_something_of_everything(expected: Recomputed) -> None:
    histories = expected.executions.values()
    assert len(histories) == EXECUTIONS
    assert {one.state for one in histories} == {"pending", "running", *TERMINAL}
    assert {kind for kind, *_ in expected.commands} == {"start", "cancel"}
    assert set("".join(expected.expected.values())) == set("aldscq")


async def test_executions(expected: Recomputed, look: asyncpg.Connection) -> None:
    rows = await look.fetch(
        "SELECT tenant, execution_id::text, state, ordinal, body::text FROM executions"
    )
    found = {(row["tenant"], row["execution_id"]): row for row in rows}
    assert found.keys() == expected.executions.keys()
    for name, told in expected.executions.items():
        view = render(orjson.loads(found[name]["body"]))
        assert shown(view, told) == told.view
        assert found[name]["state"] == told.state
        assert found[name]["ordinal"] == len(told.reports)
        assert len(view["conflicts"]) == len({one.key for one in told.contradictions})


def shown(view: dict[str, Any], told: History) -> dict[str, Any]:
    """Of a view what the oracle tells, too."""
    shown = {name: view[name] for name in told.view}
    shown["resources"] = [
        {name: resource[name] for name in RESOURCE} for resource in view["resources"]
    ]
    shown["transitions"] = {
        transition.pop("state"): {name: transition[name] for name in transition if name != "skewed"}
        for transition in view["transitions"]
        if transition["event_id"] is not None
    }
    if view["failure"]:
        shown["failure"] = {
            name: value for name, value in view["failure"].items() if name != "next_step"
        }
    return shown


async def test_the_log_has_each_record_once_with_a_disposition(
    expected: Recomputed, look: asyncpg.Connection
) -> None:
    rows = await look.fetch('SELECT partition, "offset", disposition FROM event_log')
    assert len(rows) == len(expected.expected)
    for partition, offset, disposition in rows:
        assert disposition[0] in expected.expected[partition, offset], (partition, offset)


async def test_log_lines(expected: Recomputed, look: asyncpg.Connection) -> None:
    rows = await look.fetch(
        "SELECT tenant, execution_id::text, sum(log_lines)::int FROM (SELECT DISTINCT ON"
        " (tenant, execution_id, source, event_id) * FROM event_log WHERE tenant IS NOT NULL)"
        " AS events GROUP BY 1, 2"
    )
    assert {(tenant, id_): lines for tenant, id_, lines in rows} == {
        name: told.log_lines for name, told in expected.executions.items()
    }


async def test_the_activity_of_tenants(expected: Recomputed, look: asyncpg.Connection) -> None:
    rows = await look.fetch(
        "SELECT tenant, sum(pending) AS pending, sum(running) AS running,"
        " sum(succeeded) AS succeeded, sum(failed) AS failed, sum(cancelled) AS cancelled"
        " FROM tenant_activity GROUP BY tenant"
    )
    counts = {
        (row["tenant"], state): int(count)
        for row in rows
        for state, count in row.items()
        if state != "tenant" and count
    }
    assert counts == expected.states


async def test_resources(expected: Recomputed, look: asyncpg.Connection) -> None:
    rows = await look.fetch(
        "SELECT tenant, execution_id::text, kind, id, coalesce(nullif(told.provider, ''),"
        " held.provider) AS provider, nullif(region, '') AS region, status, attributes::text"
        " FROM resources AS told JOIN executions AS held USING (tenant, execution_id)"
        " ORDER BY kind, id, told.provider, told.region"
    )
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for tenant, execution_id, *row in rows:
        resource = dict(zip(RESOURCE, row, strict=True))
        resource["attributes"] = json.loads(resource["attributes"] or "null")
        found.setdefault((tenant, execution_id), []).append(resource)
    for name, told in expected.executions.items():
        assert found.get(name, []) == told.view["resources"]


async def test_one_completion_for_each_end_as_it_was_then(
    expected: Recomputed, settings: Settings
) -> None:
    topics = [settings.topics.completions(state) for state in sorted(TERMINAL)]
    found = await relayed(settings, expected.completions.total(), *topics)
    completions = [json.loads(record.value) for record in found]
    assert expected.completions == Counter(
        (one["state"], one["tenant"], one["execution_id"]) for one in completions
    )
    for one in completions:
        told = expected.executions[one["tenant"], one["execution_id"]].at_end
        assert one["state"] == told.state
        assert one["failure"] is None or one["failure"]["code"] == told.view["failure"]["code"]
        assert one["labels"] == told.view["labels"]
        assert one["outputs"] == told.view["outputs"]
        assert one["progress"] == told.view["progress"]
        assert one["requested"] == told.view["requested"]
        assert len(one["resources"]) == len(told.view["resources"])


async def test_one_command_for_each_request_and_cancellation(
    expected: Recomputed, settings: Settings
) -> None:
    found = await relayed(settings, expected.commands.total(), settings.topics.commands)
    commands = [json.loads(record.value) for record in found]
    assert expected.commands == Counter(
        (one["command"], one["event_id"], one["tenant"], one["execution_id"]) for one in commands
    )


async def test_one_copy_in_quarantine_of_each_record_that_is_no_event(
    expected: Recomputed, settings: Settings
) -> None:
    found = await relayed(settings, len(expected.quarantined), settings.topics.quarantine)
    origins = [dict(record.headers)["milepost-origin"].decode().split("/") for record in found]
    assert expected.quarantined == {(int(origin[1]), int(origin[2])) for origin in origins}
    assert len(origins) == len(expected.quarantined)


async def relayed(settings: Settings, least: int, *topics: str) -> list[ConsumerRecord]:
    """Everything on these topics, once there are at least so many records."""
    await read(settings, *topics, until=lambda found: len(found) >= least)
    return await read_all(settings, *topics)
