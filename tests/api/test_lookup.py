"""Many executions by their ids: in order, each once, and which of them are not known."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from api.harness import Api, now, requested
from milepost.client import MilepostClient, sync
from milepost.schemas.events import Started, Succeeded

PATH = "/v1/executions:lookup"


async def look_up(api: Api, *ids: str, tenant: str | None = None) -> dict[str, Any]:
    query = "" if tenant is None else f"?tenant={tenant}"
    return await api.post(PATH + query, {"ids": ids}, 200)


async def test_in_the_order_of_the_ids_each_once_and_what_is_not_known(api: Api) -> None:
    ids = [await api.execution("many", Succeeded(occurred_at=now())) for _ in range(3)]
    unknown = [str(uuid4()) for _ in range(2)]
    asked = [unknown[0], ids[2], ids[0], unknown[1], ids[2], unknown[0], ids[1]]
    found = await look_up(api, *asked)
    assert [item["execution_id"] for item in found["items"]] == [ids[2], ids[0], ids[1]]
    assert found["unknown"] == unknown
    assert "lag" in found["freshness"]
    for item in found["items"]:
        alone = await api.get(f"/v1/executions/{item['execution_id']}")
        del alone["freshness"]
        assert item == alone


async def test_one_that_only_the_ledger_knows_is_pending(api: Api) -> None:
    accepted = await api.post("/v1/tenants/many/executions", {"operation": "provision"})
    del accepted["freshness"]
    id_ = accepted["execution_id"]
    assert (await look_up(api, id_))["items"] == [accepted]
    assert (await look_up(api, id_, tenant="many"))["items"] == [accepted]
    assert (await look_up(api, id_, tenant="other"))["unknown"] == [id_]
    # What another tenant's publisher reports under the id does not hide whose it is.
    await api.log.report("squatter", id_, Started(occurred_at=now()))
    assert (await look_up(api, id_))["items"] == [accepted]
    assert (await look_up(api, id_, tenant="squatter"))["items"][0]["state"] == "running"


async def test_whose_request_is_known_comes_before_whose_is_not(api: Api) -> None:
    request = requested()
    id_ = request.execution_id("owner")
    await api.log.report("squatter", id_, Started(occurred_at=now()))
    assert (await look_up(api, id_))["items"][0]["tenant"] == "squatter"
    await api.log.report("owner", id_, request)
    assert (await look_up(api, id_))["items"][0]["tenant"] == "owner"


async def test_of_one_tenant_only(api: Api) -> None:
    mine, theirs = await api.execution("mine"), await api.execution("theirs")
    found = await look_up(api, mine, theirs, tenant="mine")
    assert [item["execution_id"] for item in found["items"]] == [mine]
    assert found["unknown"] == [theirs]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "#/ids"),
        ({"ids": []}, "#/ids"),
        ({"ids": "x"}, "#/ids"),
        ({"ids": [str(uuid4()) for _ in range(501)]}, "#/ids"),
        ({"ids": [str(uuid4())] * 3 + ["x"]}, "#/ids/3"),
        ({"ids": [str(uuid4()).upper()]}, "#/ids/0"),
        ({"ids": [None]}, "#/ids/0"),
        ({"ids": [str(uuid4())], "tenant": "acme"}, "#/tenant"),
    ],
)
async def test_a_body_that_is_not_valid(api: Api, body: Any, pointer: str) -> None:
    problem = await api.post(PATH, body, 422)
    assert problem["errors"][0]["pointer"] == pointer


async def test_as_many_as_may_be_asked_for_take_one_query(api: Api) -> None:
    known = [await api.execution("many") for _ in range(3)]
    ids = [*known, *(str(uuid4()) for _ in range(497))]
    found = await look_up(api, *ids)
    assert [item["execution_id"] for item in found["items"]] == known
    assert found["unknown"] == ids[3:]


async def test_more_than_fits_into_an_answer_is_asked_for_again(api: Api) -> None:
    """16 MiB: every execution is there in the end, and no answer has them all."""
    large = Started(occurred_at=now(), details={"text": "x" * 900_000})
    ids = [await api.execution("large", large) for _ in range(20)]
    first = await look_up(api, *ids)
    assert [item["execution_id"] for item in first["items"]] == ids[:19]
    assert (first["left_out"], first["unknown"]) == (ids[19:], [])
    async with MilepostClient(api.url) as client:
        assert list(await client.look_up(ids)) == ids
        listed = [one.execution_id async for one in client.executions("large", page_size=500)]
    assert listed == ids
    page = await api.get("/v1/tenants/large/executions", page_size=500)
    assert (len(page["items"]), page["next_page_token"] is None) == (19, False)


async def test_the_sdk_asks_for_any_number(api: Api) -> None:
    known = [await api.execution("many") for _ in range(2)]
    ids = [known[1], *(str(uuid4()) for _ in range(600)), known[0], known[1]]
    async with MilepostClient(api.url) as client:
        found = await client.look_up(ids, tenant="many")
        assert list(found) == known[::-1]
        assert {one.tenant for one in found.values()} == {"many"}
        assert await client.look_up([]) == {}

    def blocking() -> list[str]:
        with sync.MilepostClient(api.url) as client:
            return list(client.look_up(known))

    assert await asyncio.to_thread(blocking) == known
