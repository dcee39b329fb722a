"""Connections to Postgres that are lost: while a change is being committed, and without a word."""

import asyncio
from itertools import cycle
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx2

from api.harness import Api, connected, document, running_api, seconds, served
from faults.ambiguous import struck
from faults.proxy import proxied
from milepost.settings import Settings

_COUNT = 8
_KEY = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="


async def test_each_change_is_made_once_though_its_commit_is_not_answered(
    settings: Settings,
) -> None:
    sealing = Settings(**{**dict(settings), "webhook_keys": _KEY})
    tenant = f"t{uuid4().hex[:12]}"
    hooks, body = f"/v1/tenants/{tenant}/webhooks", {"url": "https://example.com/"}
    # The next one goes well: then it has to be repeated once.
    every_other = cycle((True, False))
    async with running_api(sealing) as api:
        with struck(lambda: next(every_other)):
            made = await _requested(api, tenant)
            again = await _requested(api, tenant, status=200)
            hook = await api.post(hooks, body, 201)
            path = f"{hooks}/{hook['endpoint_id']}"
            changed = await api.http.patch(path, json={"description": "new"})
            rotated = await api.post(f"{path}/secret:rotate", {}, 200)
            test = await api.post(f"{path}:test")
            resent = f"/v1/tenants/{tenant}/deliveries/{test['delivery_id']}:redeliver"
            await api.post(resent)
            key = await api.post("/v1/api-keys", {"name": "k", "grants": [f"{tenant}:reader"]}, 201)
            revoked = await api.post(f"/v1/api-keys/{key['key_id']}:revoke", status=200)
            deleted = await api.http.delete(path)
        assert made["execution_id"] == again["execution_id"]
        assert document(changed, 200)["description"] == "new"
        assert rotated["secret"] != hook["secret"]
        assert (deleted.status_code, revoked["key_id"]) == (204, key["key_id"])
        assert len(await api.published()) == 1
    async with connected(settings.dsn) as look:
        rows = await look.fetch("SELECT status FROM audit WHERE tenant = $1 ORDER BY at", tenant)
        sent = await look.fetchval(
            "SELECT count(*) FROM webhook_deliveries WHERE tenant = $1", tenant
        )
    assert ([row["status"] for row in rows], sent) == (
        [202, 200, 201, 200, 200, 202, 202, 201, 200, 204], 1
    )  # fmt: skip


async def _requested(api: Api, tenant: str, status: int = 202) -> dict[str, Any]:
    body, headers = {"operation": "provision"}, {"Idempotency-Key": "one"}
    return await api.post(f"/v1/tenants/{tenant}/executions", body, status, headers)


async def test_of_connections_that_died_without_a_word_one_costs_time(settings: Settings) -> None:
    place = urlsplit(settings.dsn)
    async with proxied(place.port or 5432) as proxy:
        dsn = place._replace(netloc=place.netloc.replace(f":{place.port}", f":{proxy.port}"))
        through = Settings(**{**dict(settings), "database_url": dsn.geturl()})
        async with served(through) as (url, _), httpx2.AsyncClient(base_url=url) as http:
            await asyncio.gather(*(_get(http, "before") for _ in range(_COUNT)))
            with proxy.half_open():
                pass  # what was connected then is dead for good
            took, _ = await seconds(_get(http, "first"))
            assert 1 < took < 8
            took, _ = await seconds(_later(http))
            assert took < 2


async def _later(http: httpx2.AsyncClient) -> None:
    for number in range(_COUNT):
        await _get(http, f"later-{number}")


async def _get(http: httpx2.AsyncClient, tenant: str) -> None:
    document(await http.get(f"/v1/tenants/{tenant}", timeout=30), 200)
