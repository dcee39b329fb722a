"""No route tells one tenant anything of another's, whichever way the other's names come in.

The routes come from the OpenAPI document: one that is new is asked too, and fails here until it is
known what its parameters and its body look like. All of it runs twice: as it is, and without the
application's own filters, so that row-level security alone holds.
"""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final
from uuid import uuid4

import pytest

from api.callers import Guarded, guarded_api
from api.harness import connected, document, now
from milepost.api.access import Scope
from milepost.api.database import Database
from milepost.schemas.events import Failed, Progressed, Started
from milepost.schemas.values import Category, Failure, LogLine, Origin, Resource
from milepost.settings import Settings

MINE, THEIRS = "acme", "globex"
SECRET: Final = "the-secrets-of-globex"
_STREAM_SECONDS: Final = 0.5
# Row-level security is about rows; what goes to Kafka only the application holds back.
_TO_KAFKA: Final = {"publish_events"}


@dataclass
class Names:
    """What a tenant's things are called."""

    tenant: str
    execution_id: str
    endpoint_id: str
    delivery_id: str
    key_id: str
    resource: str
    partition: str = "0"
    offset: str = "0"

    def path(self, template: str) -> str:
        """The path of a route with these names; KeyError for a parameter that nobody has thought of."""
        return re.sub(r"{(\w+)}", lambda found: str(vars(self)[found[1]]), template)


@dataclass
class World:
    """Two tenants with one of everything, and an admin of the first."""

    guarded: Guarded
    token: str
    everybody: str
    mine: Names
    theirs: Names
    routes: list[tuple[str, str, dict[str, Any]]]

    async def tell(self, method: str, path: str, **request: Any) -> tuple[int, str]:
        """Status and body of the answer to the admin of the first tenant; of a stream, its beginning."""
        headers = {"Authorization": f"Bearer {self.token}", **request.pop("headers", {})}
        sent = self.guarded.api.http.stream(method, path, headers=headers, **request)
        async with sent as response:
            body = b""
            if response.headers.get("content-type", "").startswith("text/event-stream"):
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_STREAM_SECONDS):
                        async for piece in response.aiter_bytes():
                            body += piece
            else:
                body = await response.aread()
        return response.status_code, body.decode()


async def _one_of_everything(guarded: Guarded, everybody: str, tenant: str, secret: str) -> Names:
    api, resource = guarded.api, f"{secret}/pod"
    execution_id = await api.execution(
        tenant,
        Started(occurred_at=now(), resources=(Resource("k8s.pod", resource),)),
        Progressed(occurred_at=now(), log_lines=(LogLine(message=secret),)),
        Failed(
            occurred_at=now(),
            failure=Failure(
                code="x", message=secret, category=Category.RETRIABLE, origin=Origin.PROVIDER
            ),
        ),
        labels={"secret": secret}, parameters={"secret": secret}, links={"workflow_id": secret},
    )  # fmt: skip
    # One more, in flight, so that there are pages; and one that only the ledger knows.
    await api.execution(tenant, labels={"secret": secret}, links={"parent": execution_id})
    body = {"operation": "update", "labels": {"secret": secret}}
    response = await guarded.send(everybody, "POST", f"/v1/tenants/{tenant}/executions", body)
    document(response, 202)
    endpoints = f"/v1/tenants/{tenant}/webhooks"
    ids = []
    for _ in range(2):
        hook = {"url": f"https://example.com/{secret}", "description": secret}
        made = document(await guarded.send(everybody, "POST", endpoints, hook), 201)
        ids.append(made["endpoint_id"])
        test = await guarded.send(everybody, "POST", f"{endpoints}/{ids[-1]}:test")
        assert test.status_code < 300, test.text
    deliveries = document(await guarded.get(everybody, f"/v1/tenants/{tenant}/deliveries"), 200)
    key = (await guarded.key(f"{tenant}:reader", name=secret)).split("_")[1]
    async with connected(api.settings.dsn) as owner:
        offset = await owner.fetchval(
            'SELECT min("offset") FROM event_log WHERE execution_id = $1', execution_id
        )
    delivery_id = deliveries["items"][0]["delivery_id"]
    return Names(tenant, execution_id, ids[0], delivery_id, key, resource, offset=str(offset))


@pytest.fixture(scope="module")
async def world(settings: Settings) -> AsyncIterator[World]:
    async with guarded_api(settings) as guarded:
        everybody = await guarded.key("*:admin")
        theirs = await _one_of_everything(guarded, everybody, THEIRS, SECRET)
        mine = await _one_of_everything(guarded, everybody, MINE, "my-own")
        paths = (await guarded.get(None, "/openapi.json")).json()["paths"]
        routes = [
            (method.upper(), path, operation)
            for path, operations in paths.items()
            for method, operation in operations.items()
            if path.startswith("/v1")
        ]
        token = await guarded.key(f"{MINE}:admin")
        yield World(guarded, token, everybody, mine, theirs, routes)


class Unfiltered:
    """A connection whose statements have lost the application's own filters by tenant."""

    lost: Final = set[str]()

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._connection, name)
        if name not in ("fetch", "fetchrow", "fetchval", "execute", "executemany", "prepare"):
            return found
        return lambda query, *rest, **options: found(self._without(query), *rest, **options)

    def _without(self, query: str) -> str:
        without = query
        for pattern, type_ in (
            (r"\b(?:\w+\.)?tenant = (\$\d+)", "text"),
            (r"\b(?:\w+\.)?tenant = ANY ?\((\$\d+)(?:::text\[\])?\)", "text[]"),
            (r"tenants_of\(grants\) <@ (\$\d+)", "text[]"),
        ):
            without = re.sub(pattern, rf"(\1::{type_} IS NOT NULL)", without)
        if without != query:
            self.lost.add(query)
        return without


@pytest.fixture(params=["with all walls", "row-level security alone"])
def walls(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Whether the application filters, too."""
    if request.param != "with all walls":
        _remove_filters(monkeypatch)
    return str(request.param)


def _remove_filters(monkeypatch: pytest.MonkeyPatch) -> None:
    acting_for = Database.acting_for

    @contextlib.asynccontextmanager
    async def unfiltered(self: Database, tenant: str) -> AsyncIterator[Any]:
        async with acting_for(self, tenant) as connection:
            yield Unfiltered(connection)

    monkeypatch.setattr(Database, "acting_for", unfiltered)
    monkeypatch.setattr(Scope, "require", lambda *_: None)
    monkeypatch.setattr(Scope, "sees", lambda *_: True)


def body_of(operation: dict[str, Any], names: Names) -> Any:
    """A body that is valid; KeyError for a route whose body nobody has thought of."""
    if "requestBody" not in operation:
        return None
    link = {"links": {"parent": names.execution_id}}
    bodies: dict[str, Any] = {
        "request_execution": {"operation": "provision", **link},
        "cancel_execution": {"reason": "enough"},
        "look_up_executions": {"ids": [names.execution_id]},
        "publish_events": event(names),
        "create_webhook": {"url": "https://example.com/mine"},
        "change_webhook": {"description": "mine now"},
        "rotate_webhook_secret": {},
        "redeliver_webhook": {"since": "2020-01-01T00:00:00Z"},
        "create_api_key": {"name": "more", "grants": [f"{names.tenant}:reader"]},
    }
    return bodies[operation["operationId"]]


def event(names: Names) -> dict[str, Any]:
    """An event of this execution, as a structured CloudEvent."""
    return {
        "specversion": "1.0", "id": str(uuid4()), "source": "/test", "subject": names.execution_id,
        "type": "milepost.execution.started.v1", "time": "2026-01-15T09:30:05Z",
        "tenantid": names.tenant, "datacontenttype": "application/json",
        "data": {"occurred_at": "2026-01-15T09:30:04Z"},
    }  # fmt: skip


def request_of(operation: dict[str, Any], names: Names) -> dict[str, Any]:
    """The query and the body of a request for these names."""
    body = body_of(operation, names)
    asked = {
        one["name"]: {"kind": "k8s.pod", "id": names.resource}[one["name"]]
        for one in operation.get("parameters", [])
        if one["in"] == "query" and one.get("required")
    }
    request: dict[str, Any] = {"params": asked}
    if body is not None:
        is_event = operation["operationId"] == "publish_events"
        kind = "application/cloudevents+json" if is_event else "application/json"
        request |= {"json": body, "headers": {"Content-Type": kind}}
    return request


def parameters(operation: dict[str, Any], place: str) -> set[str]:
    return {one["name"] for one in operation.get("parameters", []) if one["in"] == place}


def clean(names: Names, body: str) -> bool:
    """Whether there is nothing of this tenant in an answer but what the question had in it."""
    return SECRET not in body.replace(names.resource, "")


async def rows(guarded: Guarded) -> dict[str, Any]:
    """What the other tenant has, row by row."""
    tables = (
        "executions", "requests", "webhook_endpoints", "webhook_secrets", "webhook_messages",
        "webhook_deliveries",
    )  # fmt: skip
    async with connected(guarded.api.settings.dsn) as owner:
        found = {
            table: await owner.fetch(
                f"SELECT * FROM {table} AS t WHERE tenant = $1 ORDER BY t::text",  # noqa: S608
                THEIRS,
            )
            for table in tables
        }
        found["api_keys"] = await owner.fetch(
            "SELECT key_id, revoked_at FROM api_keys WHERE $1 = ANY (tenants_of(grants))"
            " ORDER BY key_id", THEIRS,
        )  # fmt: skip
        return {table: [tuple(row) for row in rows] for table, rows in found.items()}


def foreign_paths(world: World) -> list[tuple[str, str, dict[str, Any], str, set[str]]]:
    """Every path with a name of theirs in it: all of theirs, and theirs below a tenant of mine."""
    found = []
    for method, template, operation in world.routes:
        named = set(re.findall(r"{(\w+)}", template))
        for tenant in (THEIRS, MINE):
            names = Names(**{**vars(world.theirs), "tenant": tenant})
            if named - ({"tenant"} if tenant == MINE else set()):
                found.append((method, names.path(template), operation, template, named))
    return found


async def test_their_ids_in_paths_are_unknown(world: World, walls: str) -> None:
    before = await rows(world.guarded)
    asked = set()
    for method, path, operation, template, named in foreign_paths(world):
        asked.add(template)
        request = request_of(operation, world.mine)
        status, body = await world.tell(method, path, **request)
        assert clean(world.theirs, body), (method, path, body)
        is_hidden = walls == "with all walls" or named != {"tenant"}
        if is_hidden:
            assert status == 404 or (status, method) == (503, "POST"), (method, path, body)
        elif method != "GET":
            assert status >= 400, (method, path, body)
        if walls == "with all walls":
            ids = [str(uuid4()) for _ in range(3)]
            unknown = Names("nobody", ids[0], ids[1], ids[2], uuid4().hex[:12], "r")
            if f"/{MINE}/" in path:
                unknown.tenant = MINE
            same = await world.tell(method, unknown.path(template), **request)
            for theirs, other in zip(
                vars(world.theirs).values(), vars(unknown).values(), strict=True
            ):
                body = body.replace(theirs, other) if len(theirs) > 3 else body
            assert (status, body) == same
    assert len(asked) > 15
    assert await rows(world.guarded) == before


async def test_their_tenant_in_a_query_is_unknown(world: World, walls: str) -> None:
    asked = 0
    for method, template, operation in world.routes:
        if "tenant" not in parameters(operation, "query"):
            continue
        asked += 1
        for names in (world.mine, world.theirs):
            request = request_of(operation, names)
            request["params"]["tenant"] = THEIRS
            status, body = await world.tell(method, names.path(template), **request)
            assert clean(world.theirs, body), (method, template, body)
            is_look_up = "{execution_id}" not in template
            if walls == "with all walls" or (names is world.theirs and not is_look_up):
                assert status == 404, (method, template, body)
    assert asked >= 8


async def test_their_cursors_lead_nowhere(world: World, walls: str) -> None:
    asked = 0
    for method, template, operation in world.routes:
        if "page_token" not in parameters(operation, "query"):
            continue
        question = request_of(operation, world.theirs)["params"] | {"page_size": 1}
        theirs = document(
            await world.guarded.api.http.request(
                method,
                world.theirs.path(template),
                params=question,
                headers={"Authorization": f"Bearer {world.everybody}"},
            ),
            200,
        )
        token = theirs["next_page_token"]
        if token is None:
            continue
        asked += 1
        for names in (world.mine, world.theirs):
            params = request_of(operation, names)["params"] | {"page_token": token}
            status, body = await world.tell(method, names.path(template), params=params)
            assert clean(world.theirs, body), (template, body)
            if walls == "with all walls" and names is world.theirs and "{" in template:
                assert status == 404, (template, body)
    assert asked >= 7


async def test_their_positions_in_a_stream_lead_nowhere(world: World, walls: str) -> None:
    asked = 0
    for method, template, operation in world.routes:
        if "Last-Event-ID" not in parameters(operation, "header"):
            continue
        asked += 1
        for names in (world.mine, world.theirs):
            for event_id in ("-", "0:0", f"0:{world.theirs.offset}", "0:1,1:0"):
                headers = {"Last-Event-ID": event_id}
                status, body = await world.tell(method, names.path(template), headers=headers)
                assert clean(world.theirs, body), (template, event_id, body)
                if names is world.theirs and walls == "with all walls":
                    assert status == 404
    assert asked == 2


async def test_their_names_in_bodies_are_unknown(world: World, walls: str) -> None:
    before = await rows(world.guarded)
    asked = set()
    for method, template, operation in world.routes:
        if "requestBody" not in operation:
            continue
        name = operation["operationId"]
        if name in _TO_KAFKA and walls != "with all walls":
            continue
        asked.add(name)
        path, request = world.mine.path(template), request_of(operation, world.theirs)
        status, body = await world.tell(method, path, **request)
        assert clean(world.theirs, body), (name, body)
        if name in ("create_api_key", "publish_events"):
            assert status in (404, 503), (name, body)
        if name == "look_up_executions":
            assert (status, world.theirs.execution_id in body.partition('"unknown"')[0]) == (
                200,
                False,
            )
        if name == "request_execution":
            # A link to theirs is a link to something that is not known.
            made = re.search(r'"execution_id":"([^"]+)"', body)
            assert made is not None
            links = await world.tell("GET", f"/v1/executions/{made[1]}/links")
            assert clean(world.theirs, links[1])
    assert "look_up_executions" in asked
    assert await rows(world.guarded) == before


async def test_theirs_among_mine_in_a_batch(world: World, walls: str) -> None:
    ids = [world.mine.execution_id, world.theirs.execution_id]
    status, body = await world.tell("POST", "/v1/executions:lookup", json={"ids": ids})
    assert (status, clean(world.theirs, body)) == (200, True)
    assert ids[1] not in body.partition('"unknown"')[0]
    if walls == "with all walls":
        published = len(await world.guarded.api.published())
        batch = [event(world.mine), event(world.theirs)]
        headers = {"Content-Type": "application/cloudevents-batch+json"}
        status, body = await world.tell("POST", "/v1/events", json=batch, headers=headers)
        assert (status, clean(world.theirs, body)) == (404, True)
        assert len(await world.guarded.api.published()) == published


async def test_what_is_mine_is_all_that_lists_have(world: World, walls: str) -> None:
    for method, template, operation in world.routes:
        if method == "GET":
            request = request_of(operation, world.mine)
            status, body = await world.tell(method, world.mine.path(template), **request)
            expected = 403 if operation["operationId"] == "list_audit" else 200
            assert (status, clean(world.theirs, body)) == (expected, True), (template, body)
            assert f'"tenant":"{THEIRS}"' not in body


async def test_without_any_wall_their_bytes_are_seen(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is tested here can fail: the filters that were taken away do filter."""
    _remove_filters(monkeypatch)
    monkeypatch.setattr(Scope, "visible", lambda *_: "*")
    seen = set()
    for method, template, operation in world.routes:
        if method == "GET" and "stream" not in template:
            request = request_of(operation, world.theirs)
            _, body = await world.tell(method, world.theirs.path(template), **request)
            if not clean(world.theirs, body):
                seen.add(operation["operationId"])
    assert {
        "read_execution", "list_executions", "list_logs", "list_webhooks", "list_api_keys",
        "read_webhook", "list_links",
    } <= seen  # fmt: skip
    assert len(Unfiltered.lost) > 12
