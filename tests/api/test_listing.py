"""Lists: a tenant's executions and resources, pages and their tokens, counts."""

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.harness import Api, now, requested
from api.test_history import read
from milepost.client import MilepostClient
from milepost.projections.queries import listing
from milepost.schemas.events import Failed, Started, Succeeded
from milepost.schemas.notifications import Execution
from milepost.schemas.values import Failure, Resource

MINUTE = timedelta(minutes=1)
FAILED = Failure(code="Boom", message="it broke")


async def test_execution_history_shows_all_operations_for_a_tenant(api: Api) -> None:
    tenant, ids = "history", []
    for operation in ("provision", "update", "rollback", "deprovision"):
        ids.append(await api.execution(tenant, Succeeded(occurred_at=now()), operation=operation))
    items = await read(api, f"/v1/tenants/{tenant}/executions")
    seen = [Execution.model_validate(item) for item in items]
    assert [one.execution_id for one in seen] == ids
    assert [one.operation for one in seen] == ["provision", "update", "rollback", "deprovision"]
    assert {one.state for one in seen} == {"succeeded"}
    newest_first = await read(api, f"/v1/tenants/{tenant}/executions", order="desc", page_size=3)
    assert [item["execution_id"] for item in newest_first] == ids[::-1]


async def test_tenant_can_have_concurrent_compute_operations(api: Api) -> None:
    running = await api.execution("busy", Started(occurred_at=now()))
    updating = await api.execution("busy", operation="update")
    items = await read(api, "/v1/tenants/busy/executions")
    assert {item["execution_id"]: item["state"] for item in items} == {
        running: "running",
        updating: "pending",
    }


async def test_the_order_is_that_of_the_first_records_whatever_comes_later(api: Api) -> None:
    start, ids = datetime(2026, 1, 1, tzinfo=UTC), []
    for number in range(3):
        request = requested()
        ids.append(request.execution_id("ordered"))
        await api.log.report("ordered", ids[-1], request, recorded_at=start - number * MINUTE)
    await api.log.report("ordered", ids[2], Started(occurred_at=now()))
    items = await read(api, "/v1/tenants/ordered/executions")
    assert [item["execution_id"] for item in items] == ids[::-1]


async def test_filters(api: Api) -> None:
    ecs = await api.execution("filters", Succeeded(occurred_at=now()), provider="ecs")
    k8s = await api.execution(
        "filters", Failed(occurred_at=now(), failure=FAILED), operation="update", provider="k8s"
    )
    unknown = str(uuid4())
    await api.log.report("filters", unknown, Started(occurred_at=now()))
    for query, expected in (
        ({"state": "succeeded"}, [ecs]),
        ({"operation": "update"}, [k8s]),
        ({"provider": "ecs"}, [ecs]),
        ({"provider": "ecs", "state": "failed"}, []),
        ({"state": "running"}, [unknown]),
        ({}, [ecs, k8s, unknown]),
    ):
        items = await read(api, "/v1/tenants/filters/executions", **query)
        assert [item["execution_id"] for item in items] == expected


async def test_labels(api: Api) -> None:
    web = await api.execution("labels", labels={"team": "web", "tier": "a=b"})
    ops = await api.execution("labels", labels={"team": "ops"})
    await api.execution("labels")
    for labels, expected in (
        (["team=web"], [web]),
        (["team=web", "tier=a=b"], [web]),
        (["team=ops", "tier=a=b"], []),
        (["team="], []),
        (["team=ops", "team=ops"], [ops]),
    ):
        items = await read(api, "/v1/tenants/labels/executions", label=labels)
        assert [item["execution_id"] for item in items] == expected


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_time_ranges_hold_their_beginning_and_not_their_end(api: Api, order: str) -> None:
    tenant, start = f"ranges-{order}", datetime(2026, 1, 1, tzinfo=UTC)
    ids = []
    for number in range(4):
        request, end = requested(), Succeeded(occurred_at=start + (10 + number) * MINUTE)
        ids.append(request.execution_id(tenant))
        recorded_at = start + number * MINUTE
        await api.log.report(tenant, ids[-1], request, end, recorded_at=recorded_at)
    path = f"/v1/tenants/{tenant}/executions"
    for field, first in (("first_recorded", start), ("ended", start + 10 * MINUTE)):
        for since, before in ((0, 4), (1, 3), (2, 2), (3, 1), (1, None), (None, 2)):
            query = {
                name: (first + number * MINUTE).isoformat()
                for name, number in ((f"{field}_since", since), (f"{field}_before", before))
                if number is not None
            }
            items = await read(api, path, order=order, page_size=1, **query)
            expected = ids[since:before] if order == "asc" else ids[since:before][::-1]
            assert [item["execution_id"] for item in items] == expected, query


async def test_an_id_is_found_by_how_it_begins(api: Api) -> None:
    first = "2f5d9f0e-5f5c-5c55-8a53-0b7a8f2e0f11"
    second = "2f5d9f0e-5f5c-5c55-9a53-0b7a8f2e0f11"
    for id_ in (second, first):
        await api.log.report("prefixed", id_, Started(occurred_at=now()))
    await api.log.report("stranger", first, Started(occurred_at=now()))
    await api.execution("prefixed")
    path = "/v1/tenants/prefixed/executions"
    for length in range(4, 37):
        items = await read(api, path, id_prefix=first[:length])
        assert [item["tenant"] for item in items] == ["prefixed"] * len(items)
        found = [item["execution_id"] for item in items]
        assert found == ([second, first] if length < 20 else [first])
    assert await read(api, path, id_prefix="2f5d", state="failed") == []


async def test_contradictions_are_found(api: Api) -> None:
    failed = Failed(occurred_at=now(), failure=FAILED)
    torn = await api.execution("torn", Succeeded(occurred_at=now()), failed)
    whole = await api.execution("torn", Succeeded(occurred_at=now()))
    for conflicting, expected in (("true", [torn]), ("false", [whole])):
        items = await read(api, "/v1/tenants/torn/executions", conflicting=conflicting)
        assert [item["execution_id"] for item in items] == expected


async def test_the_sdk_has_every_filter(api: Api) -> None:
    begun = now()
    id_ = await api.execution(
        "sdk", Succeeded(occurred_at=begun), provider="ecs", labels={"team": "a&b=c"}
    )
    filters: dict[str, Any] = {
        "state": "succeeded",
        "operation": "provision",
        "provider": "ecs",
        "labels": {"team": "a&b=c"},
        "first_recorded_since": begun - MINUTE,
        "first_recorded_before": begun + MINUTE,
        "ended_since": begun,
        "ended_before": begun + MINUTE,
        "id_prefix": id_[:6],
        "silent": False,
        "overdue": False,
        "conflicting": False,
    }
    without = filters | {"labels": {"team": "a"}}, filters | {"ended_before": begun}
    async with MilepostClient(api.url) as client:
        assert [one.execution_id async for one in client.executions("sdk", **filters)] == [id_]
        for other in (*without, {"conflicting": True}, {"link": ("workflow_id", "w")}):
            assert [one async for one in client.executions("sdk", **other)] == []


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_a_page_takes_bounded_work_however_few_fit(
    api: Api, order: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant = f"sparse-{order}"
    fit = [await api.execution(tenant, operation="rollback", labels={"team": "web"})]
    for _ in range(9):
        await api.execution(tenant)
    fit.append(await api.execution(tenant, operation="rollback"))
    monkeypatch.setattr(listing, "EXAMINED", 3)
    path = f"/v1/tenants/{tenant}/executions"
    query: dict[str, Any] = {"operation": "rollback", "order": order}
    pages: list[list[str]] = []
    while pages == [] or query["page_token"] is not None:
        page = await api.get(path, **query)
        pages.append([item["execution_id"] for item in page["items"]])
        query["page_token"] = page["next_page_token"]
    first, last = fit if order == "asc" else fit[::-1]
    assert pages == [[first], [], [], [last]]
    everything = await read(api, path, order=order, page_size=4)
    assert len({item["execution_id"] for item in everything}) == 11


@settings(max_examples=12, deadline=None)
@given(
    moments=st.lists(st.integers(0, 5), max_size=15),
    page_size=st.integers(1, 7),
    order=st.sampled_from(["asc", "desc"]),
)
async def test_pages_of_executions_have_no_gap_and_no_repeat(
    api: Api, moments: list[int], page_size: int, order: str
) -> None:
    """Also where several were recorded at the same time, and while others are added and move."""
    tenant, start = f"t{uuid4().hex}", datetime(2026, 1, 1, tzinfo=UTC)
    keys = []
    for minute in moments:
        request, recorded_at = requested(), start + minute * MINUTE
        execution_id = request.execution_id(tenant)
        keys.append((recorded_at, execution_id))
        await api.log.report(tenant, execution_id, request, recorded_at=recorded_at)
    items: list[dict[str, Any]] = []
    query: dict[str, Any] = {"page_size": page_size, "order": order}
    while True:
        page = await api.get(f"/v1/tenants/{tenant}/executions", **query)
        items += page["items"]
        if keys:
            await api.log.report(tenant, keys[0][1], Started(occurred_at=now()))
        if page["next_page_token"] is None:
            break
        query["page_token"] = page["next_page_token"]
    expected = [execution_id for _, execution_id in sorted(keys, reverse=order == "desc")]
    assert [item["execution_id"] for item in items] == expected


class TestTokens:
    PATH = "/v1/tenants/tokens/executions"

    @pytest.fixture
    async def token(self, api: Api) -> str:
        for _ in range(2):
            await api.execution("tokens")
        page = await api.get(self.PATH, page_size=1)
        token: str = page["next_page_token"]
        return token

    @pytest.mark.parametrize(
        "other",
        [
            {"state": "pending"},
            {"order": "desc"},
            {"operation": "provision"},
            {"provider": "ecs"},
            {"label": "team=web"},
            {"first_recorded_since": "2026-01-01T00:00:00Z"},
            {"first_recorded_before": "2126-01-01T00:00:00Z"},
            {"ended_since": "2026-01-01T00:00:00Z"},
            {"ended_before": "2126-01-01T00:00:00Z"},
            {"id_prefix": "2f5d"},
            {"silent": "false"},
            {"overdue": "false"},
            {"conflicting": "false"},
            {"workflow_id": "w"},
        ],
    )
    async def test_other_filters_are_refused(
        self, api: Api, token: str, other: dict[str, str]
    ) -> None:
        problem = await api.get(self.PATH, 400, page_token=token, **other)
        assert problem["type"] == "/problems/invalid-page-token"

    async def test_another_tenant_and_another_list_are_refused(self, api: Api, token: str) -> None:
        await api.get("/v1/tenants/other/executions", 400, page_token=token)
        await api.get("/v1/tenants/tokens/resources", 400, page_token=token)

    async def test_another_page_size_is_fine(self, api: Api, token: str) -> None:
        assert (await api.get(self.PATH, page_token=token, page_size=500))["items"]

    async def test_a_changed_token_is_refused_or_another_place_in_the_same_list(
        self, api: Api, token: str
    ) -> None:
        for index in range(0, len(token), 11):
            for letter in "A_é":
                changed = token[:index] + letter + token[index + 1 :]
                response = await api.http.get(self.PATH, params={"page_token": changed})
                assert response.status_code in (200, 400)
                if response.status_code == 200:
                    assert {one["tenant"] for one in response.json()["items"]} <= {"tokens"}

    @pytest.mark.parametrize(
        "key",
        [
            None,
            [],
            ["2026-01-01T00:00:00Z"],
            ["2026-01-01T00:00:00", str(uuid4())],
            ["9999-12-31T23:59:59Z", str(uuid4())],
            ["2026-01-01T00:00:00Z", "\0"],
            [1, 2],
            ["2026-01-01T00:00:00Z", str(uuid4()), 1],
        ],
    )
    async def test_a_key_of_another_shape_is_refused(
        self, api: Api, token: str, key: object
    ) -> None:
        _, question = json.loads(base64.urlsafe_b64decode(token + "=="))
        forged = base64.urlsafe_b64encode(json.dumps([key, question]).encode()).decode()
        problem = await api.get(self.PATH, 400, page_token=forged.rstrip("="))
        assert problem["type"] == "/problems/invalid-page-token"

    async def test_an_empty_token_is_refused(self, api: Api) -> None:
        await api.get(self.PATH, 400, page_token="")


async def test_successful_compute_execution_returns_resource_ids(api: Api) -> None:
    arn = "arn:aws:ecs:eu-west-1:123456789012:task/web/1"
    task = Resource("ecs.task", arn, region="eu-west-1")
    volume = Resource("ebs.volume", "vol-1", provider="aws", status="released")
    execution_id = await api.execution(
        "owner", Succeeded(occurred_at=now(), resources=(task, volume)), provider="ecs"
    )
    found = (await api.get(f"/v1/executions/{execution_id}/resources"))["items"]
    assert {one["id"] for one in found} == {arn, "vol-1"}
    items = await read(api, "/v1/tenants/owner/resources", page_size=1)
    assert [(one["kind"], one["id"], one["provider"], one["region"]) for one in items] == [
        ("ecs.task", arn, "ecs", "eu-west-1"),
        ("ebs.volume", "vol-1", "aws", None),
    ]
    assert {one["execution_id"] for one in items} == {execution_id}
    [kept] = await read(api, "/v1/tenants/owner/resources", released="false")
    assert kept["id"] == arn
    [gone] = await read(api, "/v1/tenants/owner/resources", released="true", kind="ebs.volume")
    assert gone["id"] == "vol-1"
    assert await read(api, "/v1/tenants/nobody/resources") == []


async def test_a_resource_leads_to_its_executions(api: Api) -> None:
    pod = Resource("k8s.pod", "web/äöü 1")
    ids = [
        await api.execution(tenant, Started(occurred_at=now(), resources=(pod,)))
        for tenant in ("b-tenant", "a-tenant", "a-tenant")
    ]
    items = await read(api, "/v1/resources", kind="k8s.pod", id="web/äöü 1", page_size=1)
    assert [one["tenant"] for one in items] == ["b-tenant", "a-tenant", "a-tenant"]
    assert [one["execution_id"] for one in items] == ids
    assert await read(api, "/v1/resources", kind="k8s.pod", id="web") == []


async def test_a_tenant_in_counts(api: Api) -> None:
    won = await api.execution("counts", Succeeded(occurred_at=now()))
    lost = await api.execution("counts", Failed(occurred_at=now(), failure=FAILED))
    await api.execution("counts", Started(occurred_at=now()))
    request = requested()
    await api.log.report("counts", request.execution_id("counts"), request, partition=1)
    last = await api.execution("counts", Succeeded(occurred_at=now() + MINUTE))
    found = await api.get("/v1/tenants/counts")
    assert found["executions"] == {
        "pending": 1,
        "running": 1,
        "succeeded": 2,
        "failed": 1,
        "cancelled": 0,
    }
    assert found["last_success"]["execution_id"] == last != won
    assert found["in_flight"] == 2
    assert found["last_failure"]["execution_id"] == lost
    why = (found["last_failure"]["code"], found["last_failure"]["message"])
    assert why == (FAILED.code, FAILED.message)
    nobody = await api.get("/v1/tenants/nobody")
    assert set(nobody["executions"].values()) == {0}
    assert nobody["last_success"] is nobody["last_failure"] is None
    assert nobody["in_flight"] == nobody["resources_in_use"] == 0
