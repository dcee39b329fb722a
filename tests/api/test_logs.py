"""The log lines of an execution: its last ones, the severe ones, and those that are still to come."""

import asyncio
from typing import Any

from api.events import started, succeeded
from api.harness import Api, now, seconds
from milepost.client import MilepostClient
from milepost.schemas.events import Progressed
from milepost.schemas.values import Level, LogLine, Resource


def logged(*messages: str, level: Level = Level.INFO) -> Progressed:
    """A report that has these lines."""
    lines = tuple(LogLine(message=message, level=level) for message in messages)
    return Progressed(occurred_at=now(), log_lines=lines)


def messages(page: dict[str, Any]) -> list[str]:
    return [item["message"] for item in page["items"]]


async def test_the_last_lines_and_what_comes_after_them(api: Api) -> None:
    execution_id = await api.execution("acme", logged("1", "2", "3"), logged("4"), logged("5", "6"))
    path = f"/v1/executions/{execution_id}/logs"
    page = await api.get(path, tail=4)
    assert (messages(page), page["state"]) == (["3", "4", "5", "6"], "running")
    assert page["next_page_token"] is None
    after = {"page_token": page["follow_token"]}
    assert messages(await api.get(path, **after)) == []
    await api.log.report("acme", execution_id, logged("7"))
    page = await api.get(path, **after)
    assert messages(page) == ["7"]
    assert messages(await api.get(path, tail=500)) == ["1", "2", "3", "4", "5", "6", "7"]
    problem = await api.get(path, 422, tail=1, **after)
    assert problem["errors"][0]["parameter"] == "tail"
    await api.get(path, 422, tail=0)


async def test_only_lines_of_a_severity(api: Api) -> None:
    execution_id = await api.execution("acme", *(logged(one, level=one) for one in Level))
    path = f"/v1/executions/{execution_id}/logs"
    assert messages(await api.get(path, level="warning")) == ["warning", "error"]
    assert messages(await api.get(path, level="debug")) == ["debug", "info", "warning", "error"]
    # Filtered after the page was cut: the next one may have more.
    page = await api.get(path, level="error", page_size=2)
    assert messages(page) == []
    page = await api.get(path, level="error", page_size=2, page_token=page["next_page_token"])
    assert messages(page) == ["error"]
    await api.get(path, 422, level="loud")


async def test_pages_of_large_records_are_small(api: Api) -> None:
    """Each record has a line, and 900 kB that are none of this answer's."""
    large = {"ballast": "x" * 900_000}
    reports = [
        Progressed(
            occurred_at=now(),
            log_lines=(LogLine(message=str(number)),),
            resources=(Resource("pod", f"{number}", attributes=large),),
        )
        for number in range(12)
    ]
    execution_id = await api.execution("acme", *reports)
    path = f"/v1/executions/{execution_id}/logs"
    first = await api.get(path)
    assert 1 < len(first["items"]) < 12
    second = await api.get(path, page_token=first["next_page_token"])
    assert second["next_page_token"] is None
    assert messages(first) + messages(second) == [str(number) for number in range(12)]
    last = messages(await api.get(path, tail=12))
    assert 1 < len(last) < 12
    assert last[-1] == "11"


async def test_lines_are_waited_for(api: Api) -> None:
    execution_id = await api.execution("acme", logged("1"))
    path = f"/v1/executions/{execution_id}/logs"
    after = (await api.get(path))["follow_token"]
    took, page = await seconds(api.get(path, page_token=after, wait="200ms"))
    assert (messages(page), page["follow_token"], took >= 0.2) == ([], after, True)
    waiting = asyncio.create_task(api.get(path, page_token=after, wait="30s"))
    # What is no line does not end it.
    await api.log.report("acme", execution_id, started())
    await api.log.report("acme", execution_id, logged("2"))
    page = await waiting
    assert messages(page) == ["2"]
    waiting = asyncio.create_task(api.get(path, page_token=page["follow_token"], wait="30s"))
    await api.log.report("acme", execution_id, succeeded())
    page = await waiting
    assert (messages(page), page["state"]) == ([], "succeeded")


async def test_the_sdk_follows_them_to_the_end(api: Api) -> None:
    execution_id = await api.execution("acme", logged("1", "2"))
    found = []
    async with MilepostClient(api.url) as milepost, asyncio.timeout(30):
        async for entry in milepost.logs(execution_id, tail=1, follow=True):
            found.append(entry.message)
            following = int(entry.message) + 1
            event = logged(str(following)) if following < 5 else succeeded()
            await api.log.report("acme", execution_id, event)
        assert found == ["2", "3", "4"]
        assert [one.message async for one in milepost.logs(execution_id)] == ["1", *found]
