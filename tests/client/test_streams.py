"""The SDK's streams against the real API, over connections that break."""

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from api.events import history, started, succeeded, tenant
from api.harness import Api, running_api
from milepost.client import ApiError, MilepostClient, State, StreamedExecution, sync
from milepost.client import calls as client_calls
from milepost.client import streams as client_streams
from milepost.schemas.values import TERMINAL
from milepost.settings import Settings
from relay import relay
from stack import first


@pytest.fixture(scope="module")
async def api(settings: Settings) -> AsyncIterator[Api]:
    async with running_api(settings) as api:
        yield api


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_streams, "_RETRY_SECONDS", 0.02)


async def test_an_execution_to_its_end(api: Api) -> None:
    execution_id = await api.execution("acme")
    states = []
    async with MilepostClient(api.url) as milepost:
        async for execution in milepost.stream(execution_id):
            states.append((execution.state, execution.version))
            if execution.state not in TERMINAL:
                event = started() if execution.state is State.PENDING else succeeded()
                await api.log.report("acme", execution_id, event)
        again = [one.state async for one in milepost.stream(execution_id, tenant="acme")]
    assert states == [(State.PENDING, 1), (State.RUNNING, 2), (State.SUCCEEDED, 3)]
    assert again == [State.SUCCEEDED]


async def test_what_the_api_refuses_is_raised(api: Api) -> None:
    async with MilepostClient(api.url) as milepost:
        with pytest.raises(ApiError) as raised:
            await first(milepost.stream(str(uuid4())))
        assert raised.value.status == 404
        with pytest.raises(ApiError, match="tenant"):
            await first(milepost.stream_tenant("Not a tenant"))


async def test_connections_that_break_lose_no_completion(api: Api) -> None:
    owner, ready = tenant(), asyncio.Event()
    seen: dict[str, set[str | None]] = {}
    async with relay(api.url) as between, MilepostClient(between.url) as milepost:
        changes = milepost.stream_tenant(owner, states=TERMINAL, on_ready=ready.set)
        async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:

            async def write() -> list[str]:
                await ready.wait()
                return await history(api, owner, 40)

            writing = tasks.create_task(write())
            async for execution in changes:
                assert execution.state is State.SUCCEEDED
                seen.setdefault(execution.execution_id, set()).add(execution.completion_id)
                if len(seen) % 5 == 0:
                    between.cut()
                if len(seen) == 40:
                    break
    assert seen.keys() == set(writing.result())
    assert all(len(ids - {None}) == 1 for ids in seen.values())
    assert between.opened > 5


async def test_a_connection_without_signs_of_life_is_given_up(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_calls, "_SILENCE_SECONDS", 0.3)
    execution_id = await api.execution("acme")
    async with relay(api.url) as between, MilepostClient(between.url) as milepost:
        changes = milepost.stream(execution_id)
        assert (await anext(changes)).state is State.PENDING
        between.silence()
        await api.log.report("acme", execution_id, started())
        later = asyncio.ensure_future(anext(changes))
        await between.reach(2)
        between.resume()
        assert (await later).state is State.RUNNING


async def test_without_an_event_loop(api: Api) -> None:
    execution_id = await api.execution("acme", started(), succeeded())
    owner = tenant()
    await api.execution(owner)
    await api.execution(owner)

    def look() -> tuple[list[State], StreamedExecution]:
        with sync.MilepostClient(api.url) as milepost:
            states = [one.state for one in milepost.stream(execution_id)]
            # A loop that is left must not leave its connection behind.
            return states, next(iter(milepost.stream_tenant(owner)))

    states, one = await asyncio.to_thread(look)
    assert states == [State.SUCCEEDED]
    assert one.tenant == owner
