"""From a transition to the raw record that brought it."""

from uuid import uuid4

import pytest

from api.harness import Api, now, requested
from milepost.schemas.events import Started, Succeeded


async def test_every_transition_leads_to_its_record(api: Api) -> None:
    execution_id = await api.execution(
        "acme", Started(occurred_at=now()), Succeeded(occurred_at=now())
    )
    found = await api.get(f"/v1/executions/{execution_id}/transitions")
    for transition in found["items"]:
        record = await api.get(transition["record"])
        assert record["transition"] == transition["state"]
        assert record["event"]["id"] == transition["event_id"]
        assert (record["execution_id"], record["tenant"]) == (execution_id, "acme")
        assert record["occurred_at"] == transition["occurred_at"]
        assert record["recorded_at"] == transition["recorded_at"]
        assert record["value_bytes"] == len(record["value"])
    [completion] = record["emitted"]
    assert completion["type"] == "milepost.completion.succeeded.v1"


async def test_under_a_shared_id_the_link_names_the_tenant(api: Api) -> None:
    execution_id = await api.execution("acme")
    await api.log.report("squatter", execution_id, Started(occurred_at=now()))
    path = f"/v1/executions/{execution_id}/transitions"
    theirs = (await api.get(path, tenant="squatter"))["items"][-1]["record"]
    assert (await api.http.get(theirs)).json()["tenant"] == "squatter"
    problem = await api.get(theirs.partition("?")[0], 404)
    assert problem["type"] == "/problems/unknown-record"
    assert "squatter" not in problem["detail"]


async def test_a_transition_that_is_not_recorded_yet_has_no_link(api: Api) -> None:
    asked = await api.post("/v1/tenants/acme/executions", {"operation": f"x{uuid4().hex[:9]}"})
    found = await api.get(f"/v1/executions/{asked['execution_id']}/transitions")
    assert [one["record"] for one in found["items"]] == [None]


async def test_a_record_of_another_execution_or_none(api: Api) -> None:
    mine = await api.execution("acme")
    other = requested().execution_id("acme")
    record = (await api.get(f"/v1/executions/{mine}/transitions"))["items"][0]["record"]
    assert (await api.get(record.replace(mine, other), 404))["type"] == (
        "/problems/unknown-execution"
    )
    theirs = await api.execution("globex")
    for path in (record.replace(mine, theirs), f"/v1/executions/{mine}/events/0/{2**62}"):
        assert (await api.get(path, 404))["type"] == "/problems/unknown-record"


@pytest.mark.parametrize("place", ["-1/0", "0/-1", f"{2**31}/0", f"0/{2**63}", "x/0", "0/1.5"])
async def test_a_place_that_is_none(api: Api, place: str) -> None:
    execution_id = await api.execution("acme")
    await api.get(f"/v1/executions/{execution_id}/events/{place}", 422)
