"""What became of an execution: transitions, records, log lines, resources."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.harness import Api, now, requested
from milepost.schemas.events import Progressed, Started, Succeeded
from milepost.schemas.values import LogLine, Progress, Resource


def logged(*messages: str) -> Progressed:
    """A report that has these lines."""
    return Progressed(
        occurred_at=now(), log_lines=tuple(LogLine(message=message) for message in messages)
    )


async def read(api: Api, path: str, **query: Any) -> list[dict[str, Any]]:
    """All items of all pages."""
    items: list[dict[str, Any]] = []
    while True:
        page = await api.get(path, **query)
        assert len(page["items"]) <= query.get("page_size", 50)
        items += page["items"]
        if page["next_page_token"] is None:
            return items
        assert page["items"]
        query["page_token"] = page["next_page_token"]


async def test_compute_execution_history_is_retained(api: Api) -> None:
    execution_id = await api.execution(
        "acme", Started(occurred_at=now()), Succeeded(occurred_at=now())
    )
    found = await api.get(f"/v1/executions/{execution_id}/transitions")
    assert found["execution_id"] == execution_id
    assert [item["state"] for item in found["items"]] == ["pending", "running", "succeeded"]
    for item in found["items"]:
        assert item["occurred_at"] <= item["reported_at"]
        assert item["recorded_at"] is not None
        assert item["event_id"] is not None


async def test_every_record_is_there_with_what_became_of_it(api: Api) -> None:
    request = requested()
    execution_id = request.execution_id("acme")
    await api.log.report("acme", execution_id, Started(occurred_at=now()))
    for _ in range(2):
        await api.log.report("acme", execution_id, request, event_id="asked")
    await api.log.report("acme", execution_id, Succeeded(occurred_at=now()))
    await api.log.report("acme", execution_id, logged("too late"), event_id="the-last")
    path = f"/v1/executions/{execution_id}/events"
    items = await read(api, path)
    assert [(item["ordinal"], item["disposition"], item["reason"]) for item in items] == [
        (1, "applied", None),
        (2, "late", "filled"),
        (3, "duplicate", "known_event"),
        (4, "applied", None),
        (5, "late", None),
    ]
    last = items[-1]
    assert last["type"] == "milepost.execution.progressed.v1"
    assert (last["event_id"], last["source"]) == ("the-last", "/test")
    assert (last["topic"], last["partition"]) == (api.settings.topics.events, 0)
    assert last["offset"] > items[0]["offset"]
    assert last["recorded_at"].endswith("Z")
    assert await read(api, path, page_size=2) == items
    assert await read(api, path, tenant="acme") == items


async def test_long_running_compute_operations_are_queryable(api: Api) -> None:
    execution_id = await api.execution("acme", Started(occurred_at=now()))
    at = now() - timedelta(minutes=1)
    lines = (
        LogLine(message="pulling", stream="stderr", level="warning", occurred_at=at),
        LogLine(message="pulled\n\tall of it"),
    )
    pod = Resource("k8s.pod", "web-1", status="scheduled", attributes={"node": "n1"})
    event = Progressed(
        occurred_at=now(), progress=Progress(percent=10), log_lines=lines, resources=(pod,)
    )
    await api.log.report("acme", execution_id, event, event_id="lines")
    path = f"/v1/executions/{execution_id}"
    first, second = await read(api, f"{path}/logs")
    assert (first["message"], first["stream"], first["level"]) == ("pulling", "stderr", "warning")
    assert first["occurred_at"] == at.isoformat().replace("+00:00", "Z")
    assert second["message"] == "pulled\n\tall of it"
    # A line without a time of its own has its event's.
    assert second["occurred_at"] == event.occurred_at.isoformat().replace("+00:00", "Z")
    assert (second["ordinal"], second["event_id"]) == (3, "lines")
    resources = (await api.get(f"{path}/resources"))["items"]
    assert [(one["id"], one["status"], one["attributes"]) for one in resources] == [
        ("web-1", "scheduled", {"node": "n1"})
    ]
    assert (await api.get(path))["progress"]["percent"] == 10


async def test_lines_of_a_repeated_event_are_there_once(api: Api) -> None:
    execution_id = await api.execution("acme")
    for partition in (0, 0, 1):
        await api.log.report(
            "acme", execution_id, logged("a", "b"), event_id="same", partition=partition
        )
    await api.log.report("acme", execution_id, logged("a"), event_id="other")
    path = f"/v1/executions/{execution_id}/logs"
    assert [item["message"] for item in await read(api, path, page_size=1)] == ["a", "b", "a"]


@pytest.mark.parametrize("page_size", [1, 3, 500])
async def test_another_tenants_lines_under_the_same_id_are_not_mixed_in(
    api: Api, page_size: int
) -> None:
    execution_id = await api.execution("acme", logged("ours"))
    await api.log.report("squatter", execution_id, logged("theirs"))
    path = f"/v1/executions/{execution_id}/logs"
    ours = await read(api, path, page_size=page_size)
    assert [item["message"] for item in ours] == ["ours"]
    theirs = await read(api, path, page_size=page_size, tenant="squatter")
    assert [item["message"] for item in theirs] == ["theirs"]


@settings(max_examples=25, deadline=None)
@given(sizes=st.lists(st.integers(0, 7), max_size=8), page_size=st.integers(1, 12))
async def test_pages_of_lines_have_no_gap_and_no_repeat(
    api: Api, sizes: list[int], page_size: int
) -> None:
    messages = [[f"{event}.{line}" for line in range(size)] for event, size in enumerate(sizes)]
    execution_id = await api.execution("acme", *(logged(*lines) for lines in messages))
    items = await read(api, f"/v1/executions/{execution_id}/logs", page_size=page_size)
    assert [item["message"] for item in items] == [line for lines in messages for line in lines]


async def test_every_part_says_of_which_version_it_is_and_how_fresh(api: Api) -> None:
    request = requested()
    id_ = request.execution_id("parts")
    await api.log.report("parts", id_, request, partition=2)
    await api.log.report("other", str(uuid4()), Started(occurred_at=now()), partition=3)
    await api.log.measure(behind=5, partition=2)
    await api.log.measure(behind=70, partition=3)
    view = await api.get(f"/v1/executions/{id_}")
    for part in ("transitions", "resources", "events", "logs", "links"):
        found = await api.get(f"/v1/executions/{id_}/{part}")
        for name in ("execution_id", "version", "recorded_at"):
            assert found[name] == view[name]
        # Of the partition that its events came through, not of all.
        assert found["freshness"]["lag"]["records"] == 5
