"""Webhooks as their tenants manage them: endpoints, secrets, tests."""

import base64
import json
import logging
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from asyncpg.exceptions import InsufficientPrivilegeError
from cryptography.fernet import Fernet
from pydantic import SecretStr

from api.harness import Api, connected, document, now, running_api
from api.sent import NETWORK, URL, endpoint, heard, sent
from api.test_history import read
from milepost.api.problems import Problem
from milepost.api.routes import webhooks
from milepost.api.webhook_secrets import MAX_SECRETS, opened
from milepost.api.webhook_urls import require_url
from milepost.settings import Settings

OWN = "whsec_" + base64.b64encode(b"a secret of the receiver").decode()


@pytest.fixture(scope="module")
async def api(settings: Settings) -> AsyncIterator[Api]:
    """The API with a key to seal secrets with."""
    key = SecretStr(Fernet.generate_key().decode())
    with_key = {"webhook_keys": key, "webhook_allowed_networks": NETWORK}
    async with running_api(Settings(**{**dict(settings), **with_key})) as api:
        yield api


@pytest.fixture
async def owner(api: Api) -> AsyncIterator[asyncpg.Connection]:
    async with connected(api.settings.dsn) as connection:
        yield connection


@pytest.fixture
def tenant() -> str:
    return f"t{uuid4().hex[:8]}"


class TestEndpoints:
    async def test_made_and_read(self, api: Api, tenant: str) -> None:
        response = await api.http.post(f"/v1/tenants/{tenant}/webhooks", json={"url": URL})
        made = document(response, 201)
        place = f"/v1/tenants/{tenant}/webhooks/{made['endpoint_id']}"
        assert response.headers["location"] == place
        assert response.headers["cache-control"] == "no-store"
        assert base64.b64decode(made.pop("secret").removeprefix("whsec_"), validate=True)
        assert made | {"endpoint_id": None, "created_at": None, "updated_at": None} == {
            "endpoint_id": None,
            "url": URL,
            "description": None,
            "states": ["cancelled", "failed", "succeeded"],
            "operations": None,
            "enabled": True,
            "disabled_at": None,
            "disabled_reason": None,
            "failing_since": None,
            "created_at": None,
            "updated_at": None,
        }
        assert await api.get(place) == made

    async def test_made_with_everything(self, api: Api, tenant: str) -> None:
        asked = {
            "url": URL,
            "description": "billing",
            "states": ["failed", "failed"],
            "operations": ["update", "provision"],
        }
        made = await endpoint(api, tenant, **asked, secret=OWN)
        assert made["secret"] == OWN
        assert (made["description"], made["states"]) == ("billing", ["failed"])
        assert made["operations"] == ["provision", "update"]

    async def test_listed_page_by_page(self, api: Api, tenant: str) -> None:
        ids = [(await endpoint(api, tenant))["endpoint_id"] for _ in range(5)]
        path = f"/v1/tenants/{tenant}/webhooks"
        for size in (1, 2, 5, 50):
            items = await read(api, path, page_size=size)
            assert [one["endpoint_id"] for one in items] == ids
        assert all("secret" not in one for one in items)
        token = (await api.get(path, page_size=2))["next_page_token"]
        problem = await api.get(f"/v1/tenants/{tenant}x/webhooks", 400, page_token=token)
        assert problem["type"] == "/problems/invalid-page-token"
        await api.get(f"/v1/tenants/{tenant}/deliveries", 400, page_token=token)
        await api.get(path, 422, page_size=0)
        await api.get(path, 422, enabled=True)

    async def test_changed_in_what_is_named(self, api: Api, tenant: str) -> None:
        made = await endpoint(api, tenant, description="old", operations=["provision"])
        made.pop("secret")
        path = f"/v1/tenants/{tenant}/webhooks/{made['endpoint_id']}"
        assert document(await api.http.patch(path, json={}), 200) == made
        asked = {"url": f"{URL}/new", "states": ["failed", "cancelled"], "description": "new"}
        changed = document(await api.http.patch(path, json=asked), 200)
        assert changed["updated_at"] > made["updated_at"]
        news = {**asked, "states": ["cancelled", "failed"], "updated_at": changed["updated_at"]}
        assert changed == {**made, **news}
        taken_away = {"description": None, "operations": None}
        changed = document(await api.http.patch(path, json=taken_away), 200)
        assert (changed["description"], changed["operations"]) == (None, None)
        assert await api.get(path) == changed

    async def test_disabled_and_enabled(
        self, api: Api, tenant: str, owner: asyncpg.Connection
    ) -> None:
        made = await endpoint(api, tenant)
        path = f"/v1/tenants/{tenant}/webhooks/{made['endpoint_id']}"
        waiting = await sent(owner, tenant, made["endpoint_id"])
        done = await sent(owner, tenant, made["endpoint_id"], "delivered")
        disabled = document(await api.http.patch(path, json={"enabled": False}), 200)
        assert (disabled["enabled"], disabled["disabled_reason"]) == (False, "asked")
        assert disabled["disabled_at"] == disabled["updated_at"]
        again = document(await api.http.patch(path, json={"enabled": False}), 200)
        assert again == disabled
        assert await _status(api, tenant, waiting) == "cancelled"
        assert await _status(api, tenant, done) == "delivered"
        for what in (f"{path}:test", f"/v1/tenants/{tenant}/deliveries/{done}:redeliver"):
            problem = await api.post(what, status=409)
            assert problem["type"] == "/problems/webhook-disabled"
            assert "asked" in problem["detail"]
        await owner.execute(
            "UPDATE webhook_endpoints SET failing_since = now() WHERE tenant = $1", tenant
        )
        async with heard(owner, tenant):
            enabled = document(await api.http.patch(path, json={"enabled": True}), 200)
        facts = ("enabled", "disabled_at", "disabled_reason", "failing_since")
        assert [enabled[fact] for fact in facts] == [True, None, None, None]
        assert await _status(api, tenant, waiting) == "cancelled"

    async def test_deleted_with_its_secrets_and_its_history_stays(
        self, api: Api, tenant: str, owner: asyncpg.Connection
    ) -> None:
        made = await endpoint(api, tenant)
        path = f"/v1/tenants/{tenant}/webhooks/{made['endpoint_id']}"
        waiting = await sent(owner, tenant, made["endpoint_id"])
        done = await sent(owner, tenant, made["endpoint_id"], "delivered")
        response = await api.http.delete(path)
        assert (response.status_code, response.content) == (204, b"")
        assert await _status(api, tenant, waiting) == "cancelled"
        assert await _status(api, tenant, done) == "delivered"
        secrets = "SELECT count(*) FROM webhook_secrets WHERE tenant = $1"
        assert await owner.fetchval(secrets, tenant) == 0
        listed = await read(
            api, f"/v1/tenants/{tenant}/deliveries", endpoint_id=made["endpoint_id"]
        )
        assert {one["delivery_id"] for one in listed} == {waiting, done}
        problem = await api.post(f"/v1/tenants/{tenant}/deliveries/{done}:redeliver", status=404)
        assert problem["type"] == "/problems/unknown-webhook"
        await api.get(path, 404)

    async def test_a_tenant_has_so_many_at_most(
        self, api: Api, tenant: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(webhooks, "MAX_ENDPOINTS", 2)
        made = [await endpoint(api, tenant) for _ in range(2)]
        problem = await api.post(f"/v1/tenants/{tenant}/webhooks", {"url": URL}, 409)
        assert problem["type"] == "/problems/too-many-webhooks"
        assert "has 2 endpoints" in problem["detail"]
        await endpoint(api, f"{tenant}x")
        await api.http.delete(f"/v1/tenants/{tenant}/webhooks/{made[0]['endpoint_id']}")
        await endpoint(api, tenant)


class TestBadInput:
    @pytest.mark.parametrize(
        ("body", "pointer"),
        [
            ({}, "#/url"),
            ({"url": None}, "#/url"),
            ({"url": ""}, "#/url"),
            ({"url": 1}, "#/url"),
            ({"url": f"{URL}\0"}, "#/url"),
            ({"url": "https://e.com/" + "x" * 2_048}, "#/url"),
            ({"url": URL, "description": ""}, "#/description"),
            ({"url": URL, "description": "x" * 256}, "#/description"),
            ({"url": URL, "states": []}, "#/states"),
            ({"url": URL, "states": "failed"}, "#/states"),
            ({"url": URL, "states": ["running"]}, "#/states/0"),
            ({"url": URL, "states": None}, "#/states"),
            ({"url": URL, "operations": []}, "#/operations"),
            ({"url": URL, "operations": ["Provision"]}, "#/operations/0"),
            ({"url": URL, "operations": [f"o{n}" for n in range(65)]}, "#/operations"),
            ({"url": URL, "secret": OWN[6:]}, "#/secret"),
            ({"url": URL, "secret": "whsec_c2hvcnQ="}, "#/secret"),
            ({"url": URL, "secret": OWN + "!"}, "#/secret"),
            ({"url": URL, "enabled": True}, "#/enabled"),
            ([], "#"),
            (None, "#"),
        ],
    )
    async def test_of_a_new_endpoint(self, api: Api, body: Any, pointer: str) -> None:
        problem = await api.post(
            "/v1/tenants/acme/webhooks", body, 422, {"content-type": "application/json"}
        )
        assert problem["type"] == "/problems/invalid-request"
        assert problem["errors"][0]["pointer"] == pointer
        if isinstance(body, dict) and "secret" in body:
            assert body["secret"] not in json.dumps(problem)

    @pytest.mark.parametrize(
        ("body", "pointer"),
        [
            ({"url": None}, "#/url"),
            ({"states": None}, "#/states"),
            ({"states": []}, "#/states"),
            ({"enabled": None}, "#/enabled"),
            ({"enabled": "yes"}, "#/enabled"),
            ({"secret": OWN}, "#/secret"),
            ({"disabled_reason": "gone"}, "#/disabled_reason"),
        ],
    )
    async def test_of_a_change(self, api: Api, body: Any, pointer: str) -> None:
        response = await api.http.patch(f"/v1/tenants/acme/webhooks/{uuid4()}", json=body)
        assert document(response, 422)["errors"][0]["pointer"] == pointer

    @pytest.mark.parametrize(
        ("body", "pointer"),
        [
            ({"overlap_seconds": -1}, "#/overlap_seconds"),
            ({"overlap_seconds": 604_801}, "#/overlap_seconds"),
            ({"overlap_seconds": "1"}, "#/overlap_seconds"),
            ({"secret": "mine"}, "#/secret"),
            ({"overlap": 1}, "#/overlap"),
        ],
    )
    async def test_of_a_rotation(self, api: Api, body: Any, pointer: str) -> None:
        path = f"/v1/tenants/acme/webhooks/{uuid4()}/secret:rotate"
        assert (await api.post(path, body, 422))["errors"][0]["pointer"] == pointer

    @pytest.mark.parametrize(
        "url",
        [
            "example.com",
            "//example.com/x",
            "https:",
            "https:///x",
            "ftp://example.com",
            "HTTP://example.com",
            "http://10.0.0.1/",
            "https://me@example.com/",
            "https://me:hidden@example.com/",
            "https://example.com/#part",
            "https://example.com:0/",
            "https://example.com:99999/",
            "https://exa mple.com/",
            "https://example.com%2f/",
            "https://[::1%25lo]/",
            "https://[::1/",
            "https://example.com/\n",
            "javascript:alert(1)",
        ],
    )
    async def test_urls_that_are_refused(self, api: Api, url: str) -> None:
        with pytest.raises(Problem) as refused:
            require_url(url, ())
        assert refused.value.kind.type == "/problems/invalid-webhook-url"
        assert "hidden" not in refused.value.detail
        if not url.startswith("HTTP:"):
            problem = await api.post("/v1/tenants/acme/webhooks", {"url": url}, 422)
            assert problem["type"] == "/problems/invalid-webhook-url"
            assert problem["errors"][0]["pointer"] == "#/url"

    async def test_a_change_to_such_a_url_is_refused_too(self, api: Api, tenant: str) -> None:
        made = await endpoint(api, tenant)
        path = f"/v1/tenants/{tenant}/webhooks/{made['endpoint_id']}"
        problem = document(await api.http.patch(path, json={"url": "http://10.0.0.1"}), 422)
        assert problem["type"] == "/problems/invalid-webhook-url"
        assert "MILEPOST_WEBHOOK_ALLOWED_NETWORKS" in problem["detail"]
        assert (await api.get(path))["url"] == URL

    def test_urls_that_are_taken(self) -> None:
        for url in (URL, "https://example.com:8443/?a=b", "https://[2606:4700::A]/", "HTTPS://X.Y"):
            require_url(url, ())
        for url in ("http://127.0.0.1:9000/", "http://receiver.internal/x"):
            require_url(url, NETWORK)
            with pytest.raises(Problem):
                require_url(url, ())

    async def test_what_is_not_there(self, api: Api, tenant: str) -> None:
        async def type_of(method: str, path: str, body: Any = None) -> str:
            response = await api.http.request(method, f"/v1/tenants/{path}", json=body)
            kind: str = document(response, 404)["type"]
            return kind

        other = await endpoint(api, f"{tenant}x")
        since = {"since": now().isoformat()}
        for endpoint_id in (str(uuid4()), other["endpoint_id"]):
            path = f"{tenant}/webhooks/{endpoint_id}"
            found = {
                await type_of("GET", path),
                await type_of("PATCH", path, {"enabled": False}),
                await type_of("DELETE", path),
                await type_of("GET", f"{path}/secret"),
                await type_of("POST", f"{path}/secret:rotate"),
                await type_of("POST", f"{path}:test"),
                await type_of("POST", f"{path}:redeliver", since),
            }
            assert found == {"/problems/unknown-webhook"}
        assert (await api.get(f"/v1/tenants/{tenant}x/webhooks"))["items"][0]["enabled"]
        for endpoint_id in ("1", uuid4().hex, f"{uuid4()}%0A"):
            await api.get(f"/v1/tenants/{tenant}/webhooks/{endpoint_id}", 422)


class TestSecrets:
    async def test_read_and_stored_sealed(
        self, api: Api, tenant: str, owner: asyncpg.Connection
    ) -> None:
        made = await endpoint(api, tenant)
        response = await api.http.get(_secret(tenant, made))
        assert response.headers["cache-control"] == "no-store"
        assert document(response, 200) == {
            "endpoint_id": made["endpoint_id"],
            "secret": made["secret"],
            "created_at": made["created_at"],
            "replaced_valid_until": None,
        }
        [sealed] = await _sealed(owner, tenant)
        assert made["secret"].encode() not in sealed
        assert base64.b64decode(made["secret"][6:]) not in sealed
        assert opened(api.settings, sealed) == made["secret"]

    async def test_rotated_with_an_overlap(
        self, api: Api, tenant: str, owner: asyncpg.Connection
    ) -> None:
        made = await endpoint(api, tenant)
        before = now()
        rotated = await api.post(f"{_secret(tenant, made)}:rotate", status=200)
        assert rotated["secret"] != made["secret"]
        assert rotated == await api.get(_secret(tenant, made))
        until = datetime.fromisoformat(rotated["replaced_valid_until"])
        assert before + timedelta(days=1) <= until <= now() + timedelta(days=1)
        body = {"overlap_seconds": 60, "secret": OWN}
        rotated = await api.post(f"{_secret(tenant, made)}:rotate", body, 200)
        assert rotated["secret"] == OWN
        until = datetime.fromisoformat(rotated["replaced_valid_until"])
        assert until <= now() + timedelta(seconds=60)
        secrets = [opened(api.settings, sealed) for sealed in await _sealed(owner, tenant)]
        assert (secrets[0], secrets[2], len(secrets)) == (made["secret"], OWN, 3)

    async def test_without_an_overlap_the_old_ones_end_and_are_forgotten(
        self, api: Api, tenant: str, owner: asyncpg.Connection
    ) -> None:
        made = await endpoint(api, tenant)
        await api.post(f"{_secret(tenant, made)}:rotate", status=200)
        body = {"overlap_seconds": 0}
        rotated = await api.post(f"{_secret(tenant, made)}:rotate", body, 200)
        assert rotated["replaced_valid_until"] is None
        [sealed] = await _sealed(owner, tenant)
        assert opened(api.settings, sealed) == rotated["secret"]

    async def test_so_many_are_valid_at_most(self, api: Api, tenant: str) -> None:
        made = await endpoint(api, tenant)
        for _ in range(MAX_SECRETS - 1):
            rotated = await api.post(f"{_secret(tenant, made)}:rotate", status=200)
        problem = await api.post(f"{_secret(tenant, made)}:rotate", {"overlap_seconds": 9}, 409)
        assert problem["type"] == "/problems/too-many-secrets"
        assert "overlap_seconds 0" in problem["detail"]
        assert await api.get(_secret(tenant, made)) == rotated
        await api.post(f"{_secret(tenant, made)}:rotate", {"overlap_seconds": 0}, 200)

    async def test_never_logged(
        self, api: Api, tenant: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.DEBUG):
            made = await endpoint(api, tenant, secret=OWN)
            await api.get(_secret(tenant, made))
            rotated = await api.post(f"{_secret(tenant, made)}:rotate", status=200)
        assert caplog.records
        key = api.settings.sealing_keys[0]
        for secret in (OWN, rotated["secret"], key):
            assert secret[6:] not in caplog.text
        assert key not in repr(api.settings)

    async def test_without_a_key_there_are_no_webhooks_and_the_remedy_is_said(
        self, api: Api, tenant: str, settings: Settings
    ) -> None:
        made = await endpoint(api, tenant)
        async with running_api(settings) as keyless:
            problems = [
                await keyless.post(f"/v1/tenants/{tenant}/webhooks", {"url": URL}, 503),
                await keyless.get(_secret(tenant, made), 503),
                await keyless.post(f"{_secret(tenant, made)}:rotate", status=503),
            ]
            [listed] = (await keyless.get(f"/v1/tenants/{tenant}/webhooks"))["items"]
        assert listed["endpoint_id"] == made["endpoint_id"]
        assert {one["type"] for one in problems} == {"/problems/webhooks-not-configured"}
        assert all("set MILEPOST_WEBHOOK_KEYS" in one["detail"] for one in problems)

    async def test_a_lost_key_is_named_and_rotating_helps(
        self, api: Api, tenant: str, settings: Settings
    ) -> None:
        made = await endpoint(api, tenant)
        key = SecretStr(Fernet.generate_key().decode())
        async with running_api(Settings(**{**dict(settings), "webhook_keys": key})) as other:
            problem = await other.get(_secret(tenant, made), 503)
            assert "not in MILEPOST_WEBHOOK_KEYS" in problem["detail"]
            rotated = await other.post(f"{_secret(tenant, made)}:rotate", status=200)
            assert (await other.get(_secret(tenant, made)))["secret"] == rotated["secret"]


class TestTest:
    async def test_a_message_is_on_its_way(
        self, api: Api, tenant: str, owner: asyncpg.Connection
    ) -> None:
        made = await endpoint(api, tenant, states=["failed"])
        async with heard(owner, tenant):
            response = await api.http.post(
                f"/v1/tenants/{tenant}/webhooks/{made['endpoint_id']}:test"
            )
        delivery = document(response, 202)
        assert await api.get(response.headers["location"]) == delivery
        assert delivery["message_id"].startswith("test_")
        assert (delivery["status"], delivery["attempts"]) == ("pending", 0)
        assert delivery["due_at"] == delivery["created_at"]
        assert (delivery["history"], delivery["last_attempt"]) == ([], None)
        assert delivery["type"] == delivery["payload"]["type"] == "milepost.webhook.test.v1"
        assert delivery["payload"]["data"] == {
            "id": delivery["message_id"],
            "tenant": tenant,
            "endpoint_id": made["endpoint_id"],
        }


class TestTenants:
    async def test_under_row_level_security_a_tenant_sees_and_changes_its_own_alone(
        self, api: Api, tenant: str, owner: asyncpg.Connection
    ) -> None:
        for one in (tenant, f"{tenant}x"):
            made = await endpoint(api, one)
            await sent(owner, one, made["endpoint_id"], "failed", codes=[500])
        tables = ("endpoints", "secrets", "messages", "deliveries", "attempts")
        async with api.parts.database.acting_for(tenant) as connection:
            for table in tables:
                seen = await connection.fetch(f"SELECT DISTINCT tenant FROM webhook_{table}")  # noqa: S608
                assert [row[0] for row in seen] == [tenant], table
            for change in (
                "UPDATE webhook_endpoints SET url = ''",
                "UPDATE webhook_secrets SET expires_at = now()",
                "UPDATE webhook_deliveries SET status = 'pending'",
                "DELETE FROM webhook_secrets",
                "DELETE FROM webhook_endpoints",
            ):
                assert (await connection.execute(change)).endswith(" 1"), change
            with pytest.raises(InsufficientPrivilegeError, match="row-level security"):
                await connection.execute(
                    "INSERT INTO webhook_messages VALUES ($1, 'm', 't', NULL, '', now())",
                    f"{tenant}x",
                )
        kept = await owner.fetchrow(
            "SELECT url, length(sealed) FROM webhook_endpoints JOIN webhook_secrets "
            "USING (tenant, endpoint_id) WHERE tenant = $1",
            f"{tenant}x",
        )
        assert kept is not None
        assert kept[0] == URL
        assert kept[1]


async def _status(api: Api, tenant: str, delivery_id: str) -> str:
    status: str = (await api.get(f"/v1/tenants/{tenant}/deliveries/{delivery_id}"))["status"]
    return status


def _secret(tenant: str, made: dict[str, Any]) -> str:
    return f"/v1/tenants/{tenant}/webhooks/{made['endpoint_id']}/secret"


async def _sealed(owner: asyncpg.Connection, tenant: str) -> list[bytes]:
    query = "SELECT sealed FROM webhook_secrets WHERE tenant = $1 ORDER BY created_at"
    return [row[0] for row in await owner.fetch(query, tenant)]
