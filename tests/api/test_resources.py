"""What became of resources: their history, what was left behind, what is in use."""

from typing import Any

import pytest

from api.harness import Api, now, requested
from api.test_history import read
from milepost.schemas.events import Cancelled, EventData, Failed, Started, Succeeded
from milepost.schemas.values import Failure, Resource


def resource(status: str | None = "running", **place: Any) -> Resource:
    return Resource("ecs.task", place.pop("id", "task-1"), status=status, **place)


def started(*resources: Resource) -> Started:
    return Started(occurred_at=now(), resources=resources)


def succeeded(*resources: Resource) -> Succeeded:
    return Succeeded(occurred_at=now(), resources=resources)


def failed(*resources: Resource) -> Failed:
    failure = Failure(code="timed_out", message="too slow")
    return Failed(occurred_at=now(), failure=failure, resources=resources)


def cancelled(*resources: Resource) -> Cancelled:
    return Cancelled(occurred_at=now(), resources=resources)


async def orphans(api: Api, tenant: str, **query: Any) -> list[tuple[str, str]]:
    items = await read(api, f"/v1/tenants/{tenant}/orphans", **query)
    return [(item["id"], item["execution_id"]) for item in items]


async def in_use(api: Api, tenant: str) -> int:
    count: int = (await api.get(f"/v1/tenants/{tenant}"))["resources_in_use"]
    return count


class TestHistory:
    """Ids are the tests' own: a look-up crosses tenants."""

    async def test_made_changed_released_and_made_again_in_order_of_time(self, api: Api) -> None:
        mine = {"id": "life-1", "provider": "ecs", "region": "eu-west-1"}
        steps = [
            ("provision", "running", "made"),
            ("update", "resized", "changed"),
            ("rollback", "running", "changed"),
            ("deprovision", "released", "released"),
            ("provision", "running", "made"),
        ]
        ids = [
            await api.execution(
                "life", succeeded(resource(status, **mine)), operation=operation, provider="ecs"
            )
            for operation, status, _ in steps
        ]
        for size in (1, 2, 50):
            items = await read(api, "/v1/resources", kind="ecs.task", id="life-1", page_size=size)
            assert [(one["operation"], one["status"], one["action"]) for one in items] == steps
            assert [one["execution_id"] for one in items] == ids
        assert {(one["tenant"], one["state"]) for one in items} == {("life", "succeeded")}
        times = [one["occurred_at"] for one in items]
        assert times == sorted(times)

    async def test_the_same_id_elsewhere_is_another_resource(self, api: Api) -> None:
        places = [
            ("one", {"region": "eu-west-1"}),
            ("one", {"region": "us-east-1"}),
            ("two", {"region": "eu-west-1"}),
            ("one", {"region": "eu-west-1", "provider": "gke"}),
        ]
        for tenant, place in places:
            await api.execution(tenant, started(resource(id="place", **place)), provider="ecs")
        query = {"kind": "ecs.task", "id": "place"}
        items = await read(api, "/v1/resources", **query)
        assert [one["action"] for one in items] == ["made"] * 4
        assert [one["provider"] for one in items] == ["ecs", "ecs", "ecs", "gke"]
        [there] = await read(api, "/v1/resources", **query, region="us-east-1")
        assert there["region"] == "us-east-1"
        [other] = await read(api, "/v1/resources", **query, provider="gke")
        assert other["provider"] == "gke"

    async def test_a_provider_that_is_named_is_the_one_that_is_meant(self, api: Api) -> None:
        await api.execution("meant", started(resource(id="meant")), provider="ecs")
        named = resource("released", id="meant", provider="ecs")
        await api.execution("meant", succeeded(named), provider="terraform")
        items = await read(api, "/v1/resources", kind="ecs.task", id="meant", provider="ecs")
        assert [one["action"] for one in items] == ["made", "released"]


class TestOrphans:
    @pytest.mark.parametrize("end", [failed, cancelled])
    async def test_what_an_execution_that_did_not_succeed_left_behind(
        self, api: Api, end: Any
    ) -> None:
        tenant = f"left-{end.__name__}"
        left = await api.execution(
            tenant,
            started(resource(id="kept"), resource(id="gone"), resource(id="also")),
            end(resource("released", id="gone")),
            provider="ecs",
        )
        found = await read(api, f"/v1/tenants/{tenant}/orphans")
        assert [(one["id"], one["execution_id"]) for one in found] == [
            ("also", left),
            ("kept", left),
        ]
        assert {(one["state"], one["operation"], one["provider"]) for one in found} == {
            (end.__name__, "provision", "ecs")
        }
        assert await orphans(api, tenant, page_size=1) == [("also", left), ("kept", left)]

    async def test_what_was_released_since_is_none(self, api: Api) -> None:
        await api.execution("tidy", failed(resource()))
        await api.execution("tidy", succeeded(resource("released")), operation="deprovision")
        assert await orphans(api, "tidy") == []

    async def test_a_release_before_does_not_count(self, api: Api) -> None:
        await api.execution("before", succeeded(resource("released")), operation="deprovision")
        left = await api.execution("before", failed(resource()))
        assert await orphans(api, "before") == [("task-1", left)]

    async def test_a_release_by_another_tenant_or_elsewhere_does_not_count(self, api: Api) -> None:
        left = await api.execution("mine", failed(resource(region="eu-west-1")), provider="ecs")
        await api.execution("theirs", succeeded(resource("released", region="eu-west-1")))
        for elsewhere in (resource("released", region="us-east-1"), resource("released")):
            await api.execution("mine", succeeded(elsewhere), provider="ecs")
        other = resource("released", region="eu-west-1", provider="gke")
        await api.execution("mine", succeeded(other), provider="ecs")
        assert await orphans(api, "mine") == [("task-1", left)]

    async def test_a_release_that_failed_leaves_it(self, api: Api) -> None:
        await api.execution("stuck", failed(resource()))
        again = await api.execution("stuck", failed(resource("stuck")), operation="deprovision")
        assert await orphans(api, "stuck") == [("task-1", again)]

    async def test_what_an_execution_has_in_use_again_is_none(self, api: Api) -> None:
        await api.execution("again", failed(resource()))
        await api.execution("again", started(resource()), operation="update")
        assert await orphans(api, "again") == []

    async def test_what_succeeded_or_goes_on_leaves_none(self, api: Api) -> None:
        await api.execution("fine", succeeded(resource()))
        await api.execution("fine", started(resource(id="task-2")))
        assert await orphans(api, "fine") == []
        assert await orphans(api, "nobody") == []


class TestInUse:
    @pytest.mark.parametrize(
        ("reports", "expected"),
        [
            ([], 0),
            ([started(resource())], 1),
            ([started(resource(), resource(id="task-2"))], 2),
            ([failed(resource())], 1),
        ],
    )
    async def test_it_counts_resources(
        self, api: Api, reports: list[EventData], expected: int
    ) -> None:
        tenant = f"use-{expected}-{len(reports)}-{type(reports[0]).__name__ if reports else ''}x"
        for report in reports:
            await api.execution(tenant, report)
        assert await in_use(api, tenant) == expected

    async def test_the_last_report_of_any_execution_decides(self, api: Api) -> None:
        for status, count in (("up", 1), ("resized", 1), ("released", 0), ("up", 1)):
            await api.execution("cycle", succeeded(resource(status)), provider="ecs")
            assert await in_use(api, "cycle") == count
        # Named or not, it is the same provider.
        gone = resource("released", provider="ecs")
        await api.execution("cycle", succeeded(gone), provider="terraform")
        assert await in_use(api, "cycle") == 0


async def test_the_provider_is_known_when_the_request_comes_late(api: Api) -> None:
    tenant, request = "late", requested(provider="ecs")
    execution_id = request.execution_id(tenant)
    await api.log.report(tenant, execution_id, failed(resource(id="late-1")))
    [before] = await read(api, f"/v1/tenants/{tenant}/orphans")
    assert (before["provider"], before["operation"]) == (None, None)
    await api.log.report(tenant, execution_id, request)
    [after] = await read(api, f"/v1/tenants/{tenant}/orphans")
    assert (after["provider"], after["operation"]) == ("ecs", "provision")
    gone = resource("released", id="late-1", provider="ecs")
    await api.execution(tenant, succeeded(gone), operation="deprovision")
    assert await orphans(api, tenant) == []
