"""Asking for executions: ids at once, keys, the ledger and its sweeper."""

import asyncio
from datetime import timedelta

import pytest

from api.harness import Api, connected, requested
from milepost.schemas.events import Requested
from milepost.schemas.identifiers import execution_id as identifier
from milepost.schemas.notifications import Execution

PATH = "/v1/tenants/acme/executions"
BODY = {"operation": "provision", "provider": "ecs", "parameters": {"cpu": 256}}
NOW = timedelta(0)


async def _events(api: Api, execution_id: str) -> list[str]:
    return [one.id for one in await api.published() if one.execution_id == execution_id]


async def test_compute_execution_id_is_returned_immediately(api: Api) -> None:
    response = await api.http.post(PATH, json=BODY, headers={"Idempotency-Key": "first"})
    assert response.status_code == 202
    found = Execution.model_validate(response.json())
    assert found.execution_id == identifier("acme", "provision", key="first")
    assert response.headers["location"] == f"/v1/executions/{found.execution_id}"
    assert (found.state, found.version, found.requested) == ("pending", 0, True)
    # Usable at once: no processor runs in this test.
    seen = await api.get(response.headers["location"])
    assert Execution.model_validate(seen) == found
    assert (seen["idempotency_key"], seen["parameters"]) == ("first", {"cpu": 256})
    assert [one["state"] for one in seen["transitions"]] == ["pending"]
    for part in ("events", "logs", "resources"):
        assert (await api.get(f"/v1/executions/{found.execution_id}/{part}"))["items"] == []


async def test_what_was_asked_is_what_is_published(api: Api) -> None:
    body = {
        **BODY,
        "labels": {"team": "web"},
        "links": {"workflow_id": "w-1"},
        "expectations": {"heartbeat_seconds": 30},
        "requested_by": "controller",
    }
    execution_id = (await api.post(PATH, body))["execution_id"]
    [event] = [one for one in await api.published() if one.execution_id == execution_id]
    assert isinstance(event.data, Requested)
    sent = event.data.model_dump(mode="json", exclude_none=True, exclude={"occurred_at"})
    assert sent == body
    assert (event.tenant, event.source) == ("acme", "/milepost/api")


async def test_compute_execution_id_is_deterministic_for_idempotent_operations(api: Api) -> None:
    headers = {"Idempotency-Key": "again"}
    first = await api.post(PATH, BODY, 202, headers)
    second = await api.post(PATH, BODY, 200, headers)
    assert first["execution_id"] == second["execution_id"]
    assert len(await _events(api, first["execution_id"])) == 1


async def test_without_a_key_the_same_request_is_the_same_execution(api: Api) -> None:
    parameters = {"cpu": 1024, "ratio": 0.5}
    body = {**BODY, "parameters": parameters}
    first = await api.post(PATH, body)
    assert first["execution_id"] == identifier(
        "acme", "provision", provider="ecs", parameters=parameters
    )
    assert (await api.post(PATH, body, 200))["execution_id"] == first["execution_id"]
    retry = {**body, "links": {"retry_of": first["execution_id"]}}
    assert (await api.post(PATH, retry))["execution_id"] != first["execution_id"]


async def test_many_callers_with_one_key_make_one_execution(api: Api) -> None:
    headers = {"Idempotency-Key": "crowd"}
    answers = await asyncio.gather(
        *(api.http.post(PATH, json=BODY, headers=headers) for _ in range(10))
    )
    assert {answer.status_code for answer in answers} <= {200, 202}
    [execution_id] = {answer.json()["execution_id"] for answer in answers}
    # Some may have published before the first was noted as published: under the same event id.
    assert len(set(await _events(api, execution_id))) == 1


@pytest.mark.parametrize(
    "other", [{"provider": "k8s"}, {"parameters": {"cpu": 1}}, {"links": {"workflow_id": "w-2"}}]
)
async def test_a_key_is_not_used_for_another_request(api: Api, other: dict[str, object]) -> None:
    headers = {"Idempotency-Key": f"reused for {sorted(other)}"}
    await api.post(PATH, BODY, 202, headers)
    problem = await api.post(PATH, {**BODY, **other}, 422, headers)
    assert problem["type"] == "/problems/key-reused"
    await api.post(PATH, {**BODY, "labels": {"team": "web"}}, 200, headers)
    await api.post(PATH, {**BODY, "operation": "update"}, 202, headers)
    await api.post("/v1/tenants/globex/executions", BODY, 202, headers)


async def test_a_key_that_was_used_over_kafka_is_known_too(api: Api) -> None:
    request = requested(idempotency_key="from the SDK", provider="ecs", parameters={"cpu": 256})
    execution_id = request.execution_id("acme")
    await api.log.report("acme", execution_id, request)
    headers = {"Idempotency-Key": "from the SDK"}
    assert (await api.post(PATH, BODY, 200, headers))["version"] == 1
    await api.post(PATH, {**BODY, "provider": "k8s"}, 422, headers)
    assert await _events(api, execution_id) == []


async def test_a_key_is_utf8(api: Api) -> None:
    response = await api.http.post(
        PATH, json=BODY, headers={b"Idempotency-Key": "größer 🚀".encode()}
    )
    assert response.json()["execution_id"] == identifier("acme", "provision", key="größer 🚀")


@pytest.mark.parametrize("key", [b"", b"x" * 256, "é".encode("latin-1")])
async def test_a_key_that_is_none_is_refused(api: Api, key: bytes) -> None:
    response = await api.http.post(PATH, json=BODY, headers={b"Idempotency-Key": key})
    assert response.status_code == 422
    assert response.json()["errors"][0]["parameter"] == "Idempotency-Key"


async def test_two_keys_are_refused(api: Api) -> None:
    headers = [("Idempotency-Key", "one"), ("Idempotency-Key", "two")]
    response = await api.http.post(PATH, json=BODY, headers=headers)
    assert response.status_code == 422


class TestNotPublished:
    """As a crash between noting and publishing leaves it, or a broker that was away."""

    @pytest.fixture
    async def left(self, api: Api) -> str:
        """The id of an execution whose request is noted and was never published."""
        request = requested()
        execution_id = request.execution_id("acme")
        before = await api.published()
        await api.parts.ledger._note("acme", request, request.occurred_at)
        assert len(await api.published()) == len(before)
        return execution_id

    async def test_it_is_pending_and_published_later_under_its_event_id(
        self, api: Api, left: str
    ) -> None:
        assert (await api.get(f"/v1/executions/{left}"))["version"] == 0
        [noted] = await _noted(api, left)
        assert await api.parts.ledger.sweep(NOW) == 1
        assert await _events(api, left) == [noted]
        assert await api.parts.ledger.sweep(NOW) == 0

    async def test_a_retry_publishes_it_under_its_event_id(self, api: Api, left: str) -> None:
        [noted] = await _noted(api, left)
        key = (await api.get(f"/v1/executions/{left}"))["idempotency_key"]
        await api.post(PATH, {"operation": "provision"}, 202, {"Idempotency-Key": key})
        await api.post(PATH, {"operation": "provision"}, 200, {"Idempotency-Key": key})
        assert await _events(api, left) == [noted]

    async def test_two_sweepers_do_not_take_the_same_row(self, api: Api, left: str) -> None:
        assert sum(await asyncio.gather(*(api.parts.ledger.sweep(NOW) for _ in range(4)))) == 1
        assert len(await _events(api, left)) == 1

    async def test_young_rows_are_left_to_the_request_that_made_them(
        self, api: Api, left: str
    ) -> None:
        assert await api.parts.ledger.sweep(timedelta(minutes=1)) == 0
        assert await api.parts.ledger.sweep(NOW) == 1


async def _noted(api: Api, execution_id: str) -> list[str]:
    async with connected(api.settings.dsn) as connection:
        rows = await connection.fetch(
            "SELECT event_id FROM requests WHERE execution_id = $1", execution_id
        )
        return [row["event_id"] for row in rows]
