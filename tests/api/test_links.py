"""Links between executions, from either side."""

from uuid import uuid4

from api.harness import Api, now, requested
from api.test_history import read
from milepost.client import MilepostClient
from milepost.schemas.events import Failed, Started, Succeeded
from milepost.schemas.values import Failure

FAILED = Failure(code="preempted", message="gone")


async def test_a_retry_and_what_it_retries_lead_to_each_other(api: Api) -> None:
    first = await api.execution("linked", Failed(occurred_at=now(), failure=FAILED))
    links = {"retry_of": first, "workflow_id": "nightly"}
    retry = await api.execution("linked", Started(occurred_at=now()), links=links)
    seen = await api.get(f"/v1/executions/{retry}/links")
    assert seen["workflow_id"] == "nightly"
    assert seen["outgoing"] == [
        {
            "relation": "retry_of",
            "execution_id": first,
            "operation": "provision",
            "state": "failed",
        }
    ]
    assert seen["incoming"] == []
    back = await api.get(f"/v1/executions/{first}/links")
    assert (back["workflow_id"], back["outgoing"]) == (None, [])
    [incoming] = back["incoming"]
    assert (incoming["relation"], incoming["execution_id"]) == ("retry_of", retry)
    assert incoming["state"] == "running"


async def test_every_relation_is_found_from_both_sides_page_by_page(api: Api) -> None:
    root = await api.execution("family")
    relations = ("parent", "retry_of", "rollback_of", "supersedes")
    made = [
        (relation, await api.execution("family", links={relation: root})) for relation in relations
    ]
    both = await api.execution("family", links={"parent": root, "supersedes": root})
    expected = [*made, ("parent", both), ("supersedes", both)]
    for size in (1, 2, 500):
        items, token = [], None
        while True:
            query = {"page_size": size} | ({"page_token": token} if token else {})
            page = await api.get(f"/v1/executions/{root}/links", **query)
            items += [(one["relation"], one["execution_id"]) for one in page["incoming"]]
            token = page["next_page_token"]
            if token is None:
                break
        assert items == expected
    for relation, execution_id in made:
        seen = await api.get(f"/v1/executions/{execution_id}/links")
        assert [(one["relation"], one["execution_id"]) for one in seen["outgoing"]] == [
            (relation, root)
        ]


async def test_a_link_to_what_is_not_known_has_no_state(api: Api) -> None:
    unknown = str(uuid4())
    child = await api.execution("linked", links={"parent": unknown})
    [outgoing] = (await api.get(f"/v1/executions/{child}/links"))["outgoing"]
    assert outgoing == {
        "relation": "parent",
        "execution_id": unknown,
        "operation": None,
        "state": None,
    }


async def test_links_of_a_request_that_is_not_folded_yet(api: Api) -> None:
    parent = await api.execution("linked")
    body = {"operation": "update", "links": {"parent": parent}}
    child = (await api.post("/v1/tenants/linked/executions", body))["execution_id"]
    [outgoing] = (await api.get(f"/v1/executions/{child}/links"))["outgoing"]
    assert (outgoing["execution_id"], outgoing["state"]) == (parent, "pending")


async def test_other_tenants_links_are_not_seen(api: Api) -> None:
    mine = await api.execution("linked")
    await api.execution("stranger", links={"parent": mine})
    assert (await api.get(f"/v1/executions/{mine}/links"))["incoming"] == []
    theirs = await api.execution("stranger", links={"retry_of": mine})
    [outgoing] = (await api.get(f"/v1/executions/{theirs}/links"))["outgoing"]
    assert outgoing["state"] is None


async def test_a_tenants_executions_by_link(api: Api) -> None:
    tenant = "flow"
    root = await api.execution(tenant)
    await api.execution(tenant)
    children = [
        await api.execution(
            tenant, *ends, links={"parent": root, "workflow_id": "release 7/ä"}, operation=operation
        )
        for operation, ends in (
            ("provision", [Succeeded(occurred_at=now())]),
            ("update", [Failed(occurred_at=now(), failure=FAILED)]),
            ("update", []),
        )
    ]
    late = requested(links={"workflow_id": "release 7/ä"})
    await api.log.report(tenant, late.execution_id(tenant), Started(occurred_at=now()), late)
    children.append(late.execution_id(tenant))
    path = f"/v1/tenants/{tenant}/executions"
    for query, expected in (
        ({"parent": root}, children[:3]),
        ({"workflow_id": "release 7/ä"}, children),
        ({"workflow_id": "release 7/ä", "order": "desc", "page_size": 3}, children[::-1]),
        ({"workflow_id": "release 7/ä", "page_size": 1}, children),
        ({"parent": root, "state": "failed"}, [children[1]]),
        ({"parent": root, "operation": "update"}, children[1:3]),
        ({"workflow_id": root}, []),
        ({"retry_of": root}, []),
        ({"parent": str(uuid4())}, []),
    ):
        items = await read(api, path, **query)
        assert [item["execution_id"] for item in items] == expected, query


async def test_the_sdk_asks_for_links(api: Api) -> None:
    root = await api.execution("sdk", links={"workflow_id": "w"})
    children = [await api.execution("sdk", links={"parent": root}) for _ in range(52)]
    async with MilepostClient(api.url) as milepost:
        links = await milepost.links(root)
        assert [one.execution_id for one in links.incoming] == children
        assert (links.workflow_id, links.outgoing) == ("w", ())
        found = [
            one.execution_id async for one in milepost.executions("sdk", link=("parent", root))
        ]
        assert found == children
        late = milepost.executions("sdk", silent=True, overdue=False)
        assert [one async for one in late] == []


async def test_an_unknown_execution_has_no_links(api: Api) -> None:
    problem = await api.get(f"/v1/executions/{uuid4()}/links", 404)
    assert problem["type"] == "/problems/unknown-execution"
