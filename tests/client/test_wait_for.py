"""Waiting for one execution: from the API where it is over, else from its topic."""

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from log import completion
from milepost.client import ApiError, State, WaitTimeout, sync, wait_for
from milepost.settings import Settings
from stub_api import StubApi, problem, stub_api, view
from subscribing import WITHIN, publish


@pytest.fixture
async def api() -> AsyncIterator[StubApi]:
    async with stub_api() as stub:
        yield stub


@pytest.fixture
def execution_id() -> str:
    return str(uuid4())


def at(settings: Settings, url: str) -> Settings:
    return settings.model_copy(update={"api_url": url})


async def asked(api: StubApi) -> None:
    """Wait until the API has been asked."""
    async with asyncio.timeout(WITHIN):
        while not api.seen:  # noqa: ASYNC110 - the stub tells nobody
            await asyncio.sleep(0)


async def test_one_that_is_over_is_known_from_the_api(
    broker_settings: Settings, api: StubApi, execution_id: str
) -> None:
    # Its completion was told long ago, or not at all: only the projection knows.
    await api.show(view(execution_id, State.SUCCEEDED, 4))
    execution = await wait_for(execution_id, WITHIN, settings=at(broker_settings, api.url))
    assert (execution.state, execution.version) == (State.SUCCEEDED, 4)


async def test_one_that_ends_later_is_known_from_its_topic(
    broker_settings: Settings, api: StubApi, execution_id: str
) -> None:
    await api.show(view(execution_id, State.RUNNING, 2))
    settings = at(broker_settings, api.url)
    waiting = asyncio.create_task(wait_for(execution_id, WITHIN, tenant="acme", settings=settings))
    await asked(api)
    await publish(settings, completion(), completion(tenant="globex", execution_id=execution_id))
    told = completion(execution_id=execution_id)
    await publish(settings, told)
    assert await waiting == told
    assert len(api.seen) == 1
    assert api.seen[0].query_params["tenant"] == "acme"


async def test_one_that_is_not_known_yet_is_waited_for(
    broker_settings: Settings, api: StubApi, execution_id: str
) -> None:
    settings = at(broker_settings, api.url)
    waiting = asyncio.create_task(wait_for(execution_id, WITHIN, settings=settings))
    await asked(api)
    told = completion(execution_id=execution_id)
    await publish(settings, told)
    assert await waiting == told


async def test_an_api_that_is_away_does_not_matter_where_the_topic_tells(
    broker_settings: Settings, api: StubApi, execution_id: str
) -> None:
    settings = at(broker_settings, api.url)
    api.answers["GET", f"/v1/executions/{execution_id}"] = [problem(503, "Away")] * 100
    waiting = asyncio.create_task(wait_for(execution_id, WITHIN, settings=settings))
    await asked(api)
    told = completion(execution_id=execution_id)
    await publish(settings, told)
    assert await waiting == told


async def test_an_api_that_comes_back_is_asked_again(
    broker_settings: Settings, api: StubApi, execution_id: str
) -> None:
    away = [problem(503, "Away"), problem(500, "Broken")]
    api.answers["GET", f"/v1/executions/{execution_id}"] = list(away)
    await api.show(view(execution_id, State.CANCELLED, 3))
    execution = await wait_for(execution_id, WITHIN, settings=at(broker_settings, api.url))
    assert execution.state is State.CANCELLED
    assert len(api.seen) == 3


async def test_one_that_does_not_end_times_out(
    broker_settings: Settings, api: StubApi, execution_id: str
) -> None:
    settings = at(broker_settings, api.url)
    with pytest.raises(WaitTimeout, match="not known") as unknown:
        await wait_for(execution_id, 1, settings=settings)
    assert unknown.value.state is None
    await api.show(view(execution_id, State.RUNNING, 2))
    with pytest.raises(WaitTimeout, match="is running after 1 s"):
        await wait_for(execution_id, 1, settings=settings)


async def test_a_refusal_is_told(
    broker_settings: Settings, api: StubApi, execution_id: str
) -> None:
    api.answers["GET", f"/v1/executions/{execution_id}"] = [problem(401, "Who are you?")]
    with pytest.raises(ApiError) as refused:
        await wait_for(execution_id, WITHIN, settings=at(broker_settings, api.url))
    assert refused.value.status == 401


async def test_without_an_event_loop(
    broker_settings: Settings, api: StubApi, execution_id: str
) -> None:
    await api.show(view(execution_id, State.FAILED, 4))
    settings = at(broker_settings, api.url)
    execution = await asyncio.to_thread(sync.wait_for, execution_id, WITHIN, settings=settings)
    assert execution.state is State.FAILED
