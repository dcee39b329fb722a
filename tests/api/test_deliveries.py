"""Webhook deliveries: what was sent, how it went, and sending it again."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from api.harness import Api, connected, document, now
from api.sent import heard, sent
from milepost.api.routes import deliveries
from milepost.projections.statements import statement
from milepost.schemas.values import EARLIEST, LATEST

PAYLOAD = {"type": "milepost.completion.failed.v1", "data": {"a": 1}}


@pytest.fixture
async def owner(api: Api) -> AsyncIterator[asyncpg.Connection]:
    async with connected(api.settings.dsn) as connection:
        yield connection


@pytest.fixture
def tenant() -> str:
    return f"t{uuid4().hex[:8]}"


async def make_endpoint(owner: asyncpg.Connection, tenant: str) -> str:
    """An endpoint without a secret, as none is needed here."""
    endpoint_id = str(uuid4())
    await owner.execute(
        "INSERT INTO webhook_endpoints (tenant, endpoint_id, url, states, created_at, updated_at)"
        "VALUES ($1, $2, 'https://example.com', '{failed}', now(), now())",
        *(tenant, endpoint_id),
    )
    return endpoint_id


async def ids(api: Api, tenant: str, **query: Any) -> list[str]:
    """Those that fit, of all pages."""
    found: list[str] = []
    while True:
        page = document(await api.http.get(_path(tenant), params=query), 200)
        found += [one["delivery_id"] for one in page["items"]]
        if page["next_page_token"] is None:
            return found
        query["page_token"] = page["next_page_token"]


def _path(tenant: str, delivery_id: str = "") -> str:
    return f"/v1/tenants/{tenant}/deliveries" + (f"/{delivery_id}" if delivery_id else "")


class TestListed:
    async def test_newest_first_whatever_the_page(
        self, api: Api, tenant: str, owner: asyncpg.Connection
    ) -> None:
        endpoint_id, same = str(uuid4()), now()
        made = [
            await sent(owner, tenant, endpoint_id, created_at=same + timedelta(seconds=second))
            for second in (0, 1, 2)
        ]
        at_once = sorted([await sent(owner, tenant, endpoint_id, created_at=same) for _ in "ab"])
        expected = [made[2], made[1], *sorted([made[0], *at_once], reverse=True)]
        for size in (1, 2, 3, 50):
            assert await ids(api, tenant, page_size=size) == expected
            assert await ids(api, tenant, page_size=size, endpoint_id=endpoint_id) == expected

    async def test_each_with_its_last_attempt(
        self, api: Api, tenant: str, owner: asyncpg.Connection
    ) -> None:
        execution_id, endpoint_id, at = str(uuid4()), str(uuid4()), now()
        await sent(
            owner, tenant, endpoint_id, "failed", execution_id=execution_id, codes=[500, None],
            created_at=at,
        )  # fmt: skip
        page = await api.get(_path(tenant))
        [item] = page["items"]
        assert set(page) == {"items", "next_page_token", "freshness"}
        assert (item["endpoint_id"], item["execution_id"]) == (endpoint_id, execution_id)
        assert (item["status"], item["attempts"], item["due_at"]) == ("failed", 2, None)
        last = item["last_attempt"]
        assert (last["status_code"], last["error"]) == (None, "connection refused")
        assert item["ended_at"] == item["created_at"] < last["attempted_at"]

    async def test_filtered(self, api: Api, tenant: str, owner: asyncpg.Connection) -> None:
        one, other, execution_id, start = str(uuid4()), str(uuid4()), str(uuid4()), now()
        made = [
            await sent(
                owner, tenant, endpoint_id, status, execution_id=told,
                created_at=start + timedelta(seconds=second),
            )
            for second, (endpoint_id, status, told) in enumerate(
                [(one, "failed", execution_id), (one, "delivered", None),
                 (other, "failed", None), (other, "pending", execution_id)]
            )
        ]  # fmt: skip
        second = (start + timedelta(seconds=1)).isoformat()
        third = (start + timedelta(seconds=2)).isoformat()
        for query, expected in (
            ({"endpoint_id": one}, [1, 0]),
            ({"status": "failed"}, [2, 0]),
            ({"execution_id": execution_id}, [3, 0]),
            ({"execution_id": execution_id, "endpoint_id": other}, [3]),
            ({"execution_id": execution_id, "status": "delivered"}, []),
            ({"endpoint_id": one, "status": "failed"}, [0]),
            ({"endpoint_id": other, "status": "pending"}, [3]),
            ({"status": "delivered"}, [1]),
            ({"since": second}, [3, 2, 1]),
            ({"before": third}, [1, 0]),
            ({"since": second, "before": third}, [1]),
            ({"since": second, "endpoint_id": one}, [1]),
            ({"before": second, "execution_id": execution_id}, [0]),
        ):
            for size in (1, 50):
                found = await ids(api, tenant, page_size=size, **query)
                assert found == [made[number] for number in expected], query

    async def test_what_did_not_arrive_is_found_without_a_walk_over_what_did(
        self, owner: asyncpg.Connection
    ) -> None:
        async with owner.transaction():
            await owner.execute(
                "WITH message AS (INSERT INTO webhook_messages SELECT 'many', number, '', NULL, '', now()"
                " FROM generate_series(1, 2000) AS number RETURNING tenant, message_id)"
                " INSERT INTO webhook_deliveries"
                " SELECT tenant, gen_random_uuid(), gen_random_uuid(), message_id, now(), 'delivered'"
                " FROM message"
            )
            await owner.execute("ANALYZE webhook_messages, webhook_deliveries")
            plan = await owner.fetch(
                f"EXPLAIN {statement('endpoints/undelivered')}",
                *("many", LATEST, UUID(int=0), 100, "failed", EARLIEST, LATEST, None),
            )
        assert "webhook_deliveries_undelivered" in "".join(row[0] for row in plan)

    @pytest.mark.parametrize(
        "query",
        [
            {"status": "lost"},
            {"endpoint_id": "1"},
            {"execution_id": "\0"},
            {"since": "yesterday"},
            {"since": "1700000000"},
            {"before": "2026-01-01T00:00:00"},
            {"page_size": 0},
            {"page_size": 501},
            {"state": "failed"},
        ],
    )
    async def test_bad_filters(self, api: Api, query: dict[str, Any]) -> None:
        response = await api.http.get(_path("acme"), params=query)
        assert response.status_code == 422, response.text
        assert {error["parameter"] for error in response.json()["errors"]} == set(query)

    async def test_a_page_token_is_for_its_question_alone(
        self, api: Api, tenant: str, owner: asyncpg.Connection
    ) -> None:
        for _ in range(2):
            await sent(owner, tenant, str(uuid4()), "failed")
        token = (await api.get(_path(tenant), page_size=1))["next_page_token"]
        for path, query in (
            (_path(f"{tenant}x"), {"page_token": token}),
            (_path(tenant), {"page_token": token, "endpoint_id": str(uuid4())}),
            (_path(tenant), {"page_token": token + "x"}),
            (_path(tenant), {"page_token": "x"}),
        ):
            problem = await api.get(path, 400, **query)
            assert problem["type"] == "/problems/invalid-page-token"


class TestOne:
    async def test_with_what_it_sends_and_every_attempt(
        self, api: Api, tenant: str, owner: asyncpg.Connection
    ) -> None:
        delivery_id = await sent(owner, tenant, str(uuid4()), "delivered", codes=[503, None, 200])
        found = await api.get(_path(tenant, delivery_id))
        assert found["payload"] == PAYLOAD
        assert [one["status_code"] for one in found["history"]] == [503, None, 200]
        assert [one["answer"] for one in found["history"]] == ["sorry", None, "sorry"]
        assert {one["duration_seconds"] for one in found["history"]} == {0.25}
        assert found["last_attempt"]["status_code"] == 200
        assert found["last_attempt"]["attempted_at"] == found["history"][-1]["attempted_at"]

    async def test_what_is_not_there_or_another_tenants(
        self, api: Api, tenant: str, owner: asyncpg.Connection
    ) -> None:
        theirs = await sent(owner, f"{tenant}x", await make_endpoint(owner, f"{tenant}x"), "failed")
        for delivery_id in (str(uuid4()), theirs):
            for problem in (
                await api.get(_path(tenant, delivery_id), 404),
                await api.post(f"{_path(tenant, delivery_id)}:redeliver", status=404),
            ):
                assert problem["type"] == "/problems/unknown-delivery"
        assert await ids(api, tenant) == []
        assert (await api.get(_path(f"{tenant}x", theirs)))["status"] == "failed"
        for delivery_id in ("1", f"{theirs}%0A", theirs.upper()):
            await api.get(_path(tenant, delivery_id), 422)


class TestAgain:
    @pytest.mark.parametrize("status", ["pending", "delivered", "failed", "cancelled"])
    async def test_one_is_due_at_once(
        self, api: Api, tenant: str, owner: asyncpg.Connection, status: str
    ) -> None:
        endpoint_id = await make_endpoint(owner, tenant)
        delivery_id = await sent(owner, tenant, endpoint_id, status, codes=[500, 500])
        async with heard(owner, tenant):
            found = await api.post(f"{_path(tenant, delivery_id)}:redeliver")
        assert (found["status"], found["attempts"], found["ended_at"]) == ("pending", 0, None)
        assert len(found["history"]) == 2
        assert found == await api.get(_path(tenant, delivery_id))
        due = "SELECT due_at <= now() FROM webhook_deliveries WHERE tenant = $1"
        assert await owner.fetchval(due, tenant) is True

    async def test_what_an_endpoint_missed_since_a_time(
        self, api: Api, tenant: str, owner: asyncpg.Connection
    ) -> None:
        mine, other = [await make_endpoint(owner, tenant) for _ in range(2)]
        start = now()
        made = {
            (endpoint_id, status, second): await sent(
                owner, tenant, endpoint_id, status, created_at=start + timedelta(seconds=second)
            )
            for endpoint_id in (mine, other)
            for status in ("pending", "delivered", "failed", "cancelled")
            for second in (0, 1, 2)
        }
        path = f"/v1/tenants/{tenant}/webhooks/{mine}:redeliver"
        since = (start + timedelta(seconds=1)).isoformat()
        async with heard(owner, tenant):
            assert await api.post(path, {"since": since}) == {"redelivered": 4, "more": False}
        again = {
            made[mine, status, second] for status in ("failed", "cancelled") for second in (1, 2)
        }
        waiting = {made[key] for key in made if key[1] == "pending"}
        assert set(await ids(api, tenant, status="pending")) == waiting | again
        body = {
            "since": start.isoformat(),
            "before": (start + timedelta(seconds=2)).isoformat(),
            "statuses": ["delivered"],
        }
        assert await api.post(path, body) == {"redelivered": 2, "more": False}
        again |= {made[mine, "delivered", second] for second in (0, 1)}
        assert set(await ids(api, tenant, status="pending")) == waiting | again

    async def test_so_many_at_once_and_the_rest_when_asked_again(
        self, api: Api, tenant: str, owner: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(deliveries, "MAX_REDELIVERED", 2)
        endpoint_id, start = await make_endpoint(owner, tenant), now()
        made = [
            await sent(
                owner, tenant, endpoint_id, "failed", created_at=start + timedelta(seconds=second)
            )
            for second in range(3)
        ]
        path, body = (
            f"/v1/tenants/{tenant}/webhooks/{endpoint_id}:redeliver",
            {"since": start.isoformat()},
        )
        assert await api.post(path, body) == {"redelivered": 2, "more": True}
        assert await ids(api, tenant, status="failed") == [made[2]]
        assert await api.post(path, body) == {"redelivered": 1, "more": False}
        assert await api.post(path, body) == {"redelivered": 0, "more": False}

    @pytest.mark.parametrize(
        ("body", "pointer"),
        [
            ({}, "#/since"),
            ({"since": 0}, "#/since"),
            ({"since": "2026-01-01"}, "#/since"),
            ({"since": "2026-01-01T00:00:00"}, "#/since"),
            ({"since": "2026-01-01T00:00:00Z", "before": 1}, "#/before"),
            ({"since": "2026-01-01T00:00:00Z", "statuses": []}, "#/statuses"),
            ({"since": "2026-01-01T00:00:00Z", "statuses": ["pending"]}, "#/statuses/0"),
            ({"since": "2026-01-01T00:00:00Z", "status": "failed"}, "#/status"),
        ],
    )
    async def test_bad_bodies(self, api: Api, body: dict[str, Any], pointer: str) -> None:
        problem = await api.post(f"/v1/tenants/acme/webhooks/{uuid4()}:redeliver", body, 422)
        assert problem["errors"][0]["pointer"] == pointer
