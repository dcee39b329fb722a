"""The client of the HTTP API, against a small server with the API's contract."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response

from milepost.client import (
    ApiError,
    ApiUnavailable,
    InvalidEvent,
    MilepostClient,
    State,
    WaitTimeout,
    sync,
)
from milepost.client import http as client_http
from stub_api import StubApi, problem, stub_api, view


@pytest.fixture(scope="module")
async def api() -> AsyncIterator[StubApi]:
    async with stub_api() as stub:
        yield stub


@pytest.fixture(scope="module")
async def client(api: StubApi) -> AsyncIterator[MilepostClient]:
    async with MilepostClient(api.url, "a-token") as client:
        yield client


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_http, "_RETRY_SECONDS", 0.05)


@pytest.fixture
def execution() -> str:
    return str(uuid4())


def _ok(content: object) -> Response:
    return JSONResponse(content)


async def test_one_execution(client: MilepostClient, api: StubApi, execution: str) -> None:
    await api.show(view(execution, State.RUNNING, 2))
    found = await client.execution(execution, tenant="acme")
    assert (found.execution_id, found.state, found.version) == (execution, State.RUNNING, 2)
    assert api.seen[-1].headers["authorization"] == "Bearer a-token"
    assert api.seen[-1].query_params["tenant"] == "acme"


async def test_waiting_until_it_is_over(
    client: MilepostClient, api: StubApi, execution: str
) -> None:
    waiting = asyncio.create_task(client.wait(execution, timeout=15))
    await api.show(view(execution, State.PENDING, 1))
    await api.show(view(execution, State.SUCCEEDED, 4))
    assert (await waiting).state is State.SUCCEEDED


async def test_updates_are_each_newer_version(
    client: MilepostClient, api: StubApi, execution: str
) -> None:
    await api.show(view(execution, State.PENDING, 1))
    versions = []
    async for one in client.updates(execution):
        versions.append(one.version)
        state = State.RUNNING if one.version < 3 else State.FAILED
        await api.show(view(execution, state, one.version + 1))
    assert versions == [1, 2, 3, 4]


async def test_waiting_has_an_end(client: MilepostClient, api: StubApi, execution: str) -> None:
    with pytest.raises(WaitTimeout, match=r"not known after 0\.2 s"):
        await client.wait(execution, timeout=0.2)
    await api.show(view(execution, State.RUNNING, 2))
    with pytest.raises(WaitTimeout) as caught:
        await client.wait(execution, timeout=0.2)
    assert caught.value.state is State.RUNNING
    assert isinstance(caught.value, TimeoutError)


async def test_waiting_outlives_a_restart_of_the_api(execution: str) -> None:
    async with contextlib.AsyncExitStack() as stack:
        async with stub_api() as before:
            client = await stack.enter_async_context(MilepostClient(before.url, "a-token"))
            await before.show(view(execution, State.RUNNING, 2))
            updates = client.updates(execution)
            assert (await anext(updates)).version == 2
            waiting = asyncio.create_task(client.wait(execution, timeout=15))
        async with stub_api(int(before.url.rsplit(":", 1)[1])) as after:
            await after.show(view(execution, State.CANCELLED, 3))
            assert (await anext(updates)).version == 3
            assert (await waiting).state is State.CANCELLED


async def test_an_api_that_is_away_is_named(execution: str) -> None:
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unheard.getsockname()[1]}"
        async with MilepostClient(url) as client:
            with pytest.raises(ApiUnavailable, match=url):
                await client.execution(execution)
            with pytest.raises(ApiUnavailable, match="MILEPOST_API_URL"):
                await client.wait(execution, timeout=0.2)


async def test_problems_become_errors(client: MilepostClient, api: StubApi, execution: str) -> None:
    with pytest.raises(ApiError) as caught:
        await client.execution(execution)
    assert caught.value.status == 404
    assert caught.value.type == "/problems/test"
    assert str(caught.value) == "404 No such execution: because"

    path = f"/v1/executions/{execution}"
    strange = [
        (PlainTextResponse("a proxy's page", 403), ApiError, "403 Forbidden: a proxy's page"),
        (RedirectResponse("http://elsewhere"), ApiError, "307"),
        (_ok({"no": "execution"}), ApiUnavailable, "is no Execution"),
        (problem(503, "The database is away"), ApiUnavailable, "503"),
    ]
    for answer, error, text in strange:
        api.answers["GET", path] = [answer]
        with pytest.raises(error, match=text):
            await client.execution(execution)


async def test_refusals_end_waiting_at_once(
    client: MilepostClient, api: StubApi, execution: str
) -> None:
    api.answers["GET", f"/v1/executions/{execution}"] = [problem(403, "Not yours")]
    with pytest.raises(ApiError, match="Not yours"):
        await client.wait(execution, timeout=15)


async def test_a_request_with_its_key(client: MilepostClient, api: StubApi, execution: str) -> None:
    path = "/v1/tenants/acme/executions"
    pending = view(execution, State.PENDING, 0).model_dump(mode="json")
    api.answers["POST", path] = [JSONResponse(pending, 202), JSONResponse(pending, 202)]
    found = await client.request("acme", "provision", provider="ecs", parameters={}, key="größe 1")
    assert found.execution_id == execution
    sent = api.seen[-1]
    assert json.loads(await sent.body()) == {
        "operation": "provision",
        "provider": "ecs",
        "parameters": {},
    }
    raw = dict(sent.headers.raw)
    assert raw[b"idempotency-key"].decode() == "größe 1"
    await client.request("acme", "provision")
    assert "idempotency-key" not in api.seen[-1].headers
    with pytest.raises(InvalidEvent) as caught:
        await client.request("acme", "provision", key="two\nlines")
    assert caught.value.field == "key"


async def test_a_request_is_repeated_under_its_key(
    client: MilepostClient, api: StubApi, execution: str
) -> None:
    path = "/v1/tenants/acme/executions"
    pending = view(execution, State.PENDING, 0).model_dump(mode="json")
    away = problem(503, "The database is away")
    api.answers["POST", path] = [away, JSONResponse(pending, 202)]
    assert (await client.request("acme", "provision", key="one")).execution_id == execution
    keys = [request.headers["idempotency-key"] for request in api.seen[-2:]]
    assert keys == ["one", "one"]
    asked = len(api.seen)
    api.answers["POST", path] = [away] * 10
    with pytest.raises(ApiUnavailable, match="503"):
        await client.request("acme", "provision", key="two")
    assert 1 < len(api.seen) - asked < 10


async def test_calling_off(client: MilepostClient, api: StubApi, execution: str) -> None:
    path = f"/v1/executions/{execution}:cancel"
    running = view(execution, State.RUNNING, 2).model_dump(mode="json")
    api.answers["POST", path] = [JSONResponse(running, 202), problem(409, "It is over")]
    assert (await client.cancel(execution, reason="too slow")).state is State.RUNNING
    assert json.loads(await api.seen[-1].body()) == {"reason": "too slow"}
    with pytest.raises(ApiError) as caught:
        await client.cancel(execution)
    assert caught.value.status == 409


async def test_pages_are_followed(client: MilepostClient, api: StubApi) -> None:
    ids = [str(uuid4()) for _ in range(3)]
    views = [view(one, State.RUNNING, 2).model_dump(mode="json") for one in ids]
    api.answers["GET", "/v1/tenants/acme/executions"] = [
        _ok({"items": views[:2], "next_page_token": "more"}),
        _ok({"items": views[2:], "next_page_token": None}),
    ]
    found = [one.execution_id async for one in client.executions("acme", state=State.RUNNING)]
    assert found == ids
    first, second = (request.query_params for request in api.seen[-2:])
    assert (first["state"], first["order"]) == ("running", "asc")
    assert (first.get("page_token"), second["page_token"]) == (None, "more")


async def test_history_logs_and_resources(
    client: MilepostClient, api: StubApi, execution: str
) -> None:
    moment = "2026-03-01T10:00:00Z"
    transition = {
        "state": "running", "occurred_at": moment, "reported_at": moment, "recorded_at": moment,
        "event_id": "e", "source": "/s", "partition": 0, "offset": 1,
    }  # fmt: skip
    line = {"ordinal": 1, "message": "hello", "level": "info", "stream": "stdout", "offset": 4}
    resource = {
        "tenant": "acme", "execution_id": execution, "kind": "file", "id": "a",
        "occurred_at": moment, "recorded_at": moment,
    }  # fmt: skip
    api.answers |= {
        ("GET", f"/v1/executions/{execution}/transitions"): [_ok({"items": [transition]})],
        ("GET", f"/v1/executions/{execution}/logs"): [
            _ok({"items": [line], "state": "running", "next_page_token": "2", "follow_token": "2"}),
            _ok({"items": [line], "state": "running", "follow_token": "3"}),
        ],
        ("GET", "/v1/tenants/acme/resources"): [
            _ok({"items": [resource], "next_page_token": None})
        ],
    }
    [found] = await client.transitions(execution)
    assert found.state is State.RUNNING
    assert [one.message async for one in client.logs(execution)] == ["hello", "hello"]
    [one] = await client.resources("acme")
    assert (one.kind, one.id, one.execution_id) == ("file", "a", execution)


async def test_without_an_event_loop(api: StubApi, execution: str) -> None:
    await api.show(view(execution, State.SUCCEEDED, 3))
    api.answers["GET", "/v1/tenants/acme/executions"] = [
        _ok({"items": [view(execution, State.SUCCEEDED, 3).model_dump(mode="json")]})
    ]

    def ask() -> tuple[State, list[str]]:
        with sync.MilepostClient(api.url, "a-token") as client:
            listed = [one.execution_id for one in client.executions("acme")]
            return client.wait(execution).state, listed

    assert await asyncio.to_thread(ask) == (State.SUCCEEDED, [execution])
