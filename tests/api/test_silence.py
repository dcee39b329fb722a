"""Executions that stay away longer than they should, or take longer than they should."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from api.harness import Api, connected, now, requested, running_api
from api.test_history import read
from milepost.projections import queries
from milepost.schemas.events import EventData, Progressed, Started, Succeeded
from milepost.settings import Settings

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)


@pytest.fixture(scope="module")
async def api(settings: Settings) -> AsyncIterator[Api]:
    """An API whose operators gave one provider a limit of its own, and all others ten minutes."""
    limits = {"provider_heartbeat_seconds": {"terraform": 1_800}, "heartbeat_seconds": 600}
    async with running_api(settings.model_copy(update=limits)) as api:
        yield api


async def heard(
    api: Api, tenant: str, ago: timedelta, *events: EventData, **facts: Any
) -> tuple[str, datetime]:
    """An execution whose events were all recorded that long ago: its id and that time."""
    request, at = requested(**facts), now() - ago
    recorded = at.replace(microsecond=at.microsecond // 1_000 * 1_000)
    id_ = request.execution_id(tenant)
    await api.log.report(tenant, id_, request, *events, recorded_at=recorded)
    return id_, recorded


def at(moment: datetime) -> str:
    """As the API writes it."""
    return moment.isoformat().replace("+00:00", "Z")


@pytest.mark.parametrize("events", [[], [Started(occurred_at=now())]], ids=["pending", "running"])
async def test_silent_from_the_moment_its_own_heartbeat_is_missed(
    api: Api, events: list[EventData]
) -> None:
    expected = {"heartbeat_seconds": 30.5}
    id_, last = await heard(api, "quiet", MINUTE, *events, expectations=expected)
    view = await api.get(f"/v1/executions/{id_}")
    assert view["silent_since"] == at(last + 30.5 * SECOND)
    assert view["overdue_since"] is None
    assert view["state"] == ("running" if events else "pending")


async def test_any_event_ends_the_silence(api: Api) -> None:
    id_, _ = await heard(api, "quiet", MINUTE, expectations={"heartbeat_seconds": 30})
    path = f"/v1/executions/{id_}"
    silent = await api.http.get(path)
    assert silent.json()["silent_since"] is not None
    await api.log.report("quiet", id_, Progressed(occurred_at=now()))
    heard_again = await api.http.get(path)
    assert heard_again.json()["silent_since"] is None
    assert silent.headers["etag"] != heard_again.headers["etag"]


async def test_that_it_fell_silent_is_news_for_who_has_seen_it(api: Api) -> None:
    request = requested(expectations={"heartbeat_seconds": 30})
    id_ = request.execution_id("quiet")
    await api.log.report("quiet", id_, request)
    path = f"/v1/executions/{id_}"
    etag = (await api.http.get(path)).headers["etag"]
    unchanged = await api.http.get(path, headers={"If-None-Match": etag})
    assert unchanged.status_code == 304
    async with connected(api.settings.dsn) as owner:
        await owner.execute(
            "UPDATE executions SET recorded_at = recorded_at - interval '1 hour'"
            " WHERE execution_id = $1",
            id_,
        )
    changed = await api.http.get(path, headers={"If-None-Match": etag})
    assert changed.json()["silent_since"] is not None


@pytest.mark.parametrize(("provider", "limit"), [("terraform", 1_800), ("ecs", 600), (None, 600)])
async def test_without_an_expectation_the_settings_say(
    api: Api, provider: str | None, limit: int
) -> None:
    margin = timedelta(seconds=20)
    in_time, _ = await heard(api, "plain", limit * SECOND - margin, provider=provider)
    assert (await api.get(f"/v1/executions/{in_time}"))["silent_since"] is None
    late, last = await heard(api, "plain", limit * SECOND + margin, provider=provider)
    view = await api.get(f"/v1/executions/{late}")
    assert view["silent_since"] == at(last + limit * SECOND)


async def test_its_own_expectation_counts_more_than_the_settings(api: Api) -> None:
    expected = {"heartbeat_seconds": 7_200}
    id_, _ = await heard(api, "plain", timedelta(hours=1), expectations=expected)
    assert (await api.get(f"/v1/executions/{id_}"))["silent_since"] is None


async def test_what_is_over_is_neither_silent_nor_overdue(api: Api) -> None:
    expected = {"heartbeat_seconds": 1, "duration_seconds": 1}
    end = Succeeded(occurred_at=now())
    id_, _ = await heard(api, "over", timedelta(days=1), end, expectations=expected)
    view = await api.get(f"/v1/executions/{id_}")
    assert view["silent_since"] is view["overdue_since"] is None
    for filter_ in ("silent", "overdue"):
        assert await read(api, "/v1/tenants/over/executions", **{filter_: "true"}) == []
        [item] = await read(api, "/v1/tenants/over/executions", **{filter_: "false"})
        assert item["execution_id"] == id_


async def test_overdue_counts_from_the_first_event_whatever_is_heard(api: Api) -> None:
    expected = {"duration_seconds": 90, "heartbeat_seconds": 3_600}
    id_, first = await heard(api, "slow", 2 * MINUTE, expectations=expected)
    await api.log.report("slow", id_, Progressed(occurred_at=now()))
    view = await api.get(f"/v1/executions/{id_}")
    assert (view["overdue_since"], view["silent_since"]) == (at(first + 90 * SECOND), None)


async def test_filters_find_them_in_order_and_page_by_page(api: Api) -> None:
    tenant = "filtered"
    short, quick = {"heartbeat_seconds": 30}, {"duration_seconds": 30}
    silent = [(await heard(api, tenant, MINUTE * ago, expectations=short))[0] for ago in (9, 8, 7)]
    overdue = [(await heard(api, tenant, MINUTE * 5, expectations=quick))[0]]
    both = [(await heard(api, tenant, MINUTE * 4, expectations=short | quick))[0]]
    fine = [(await heard(api, tenant, MINUTE * 3))[0]]
    over, _ = await heard(api, tenant, MINUTE, Succeeded(occurred_at=now()), expectations=short)
    linked, _ = await heard(
        api, tenant, MINUTE, expectations=short, links={"workflow_id": "w"}, operation="update"
    )
    path = f"/v1/tenants/{tenant}/executions"
    for query, expected in (
        ({"silent": "true"}, [*silent, *both, linked]),
        ({"silent": "true", "order": "desc", "page_size": 2}, [*silent, *both, linked][::-1]),
        ({"silent": "true", "page_size": 1}, [*silent, *both, linked]),
        ({"overdue": "true"}, [*overdue, *both]),
        ({"silent": "true", "overdue": "true"}, both),
        ({"silent": "true", "overdue": "false"}, [*silent, linked]),
        ({"silent": "false"}, [*overdue, *fine, over]),
        ({"silent": "true", "workflow_id": "w"}, [linked]),
        ({"silent": "false", "workflow_id": "w"}, []),
        ({"silent": "true", "operation": "update"}, [linked]),
        ({"state": "pending"}, [*silent, *overdue, *both, *fine, linked]),
        ({"state": "pending", "silent": "false"}, [*overdue, *fine]),
    ):
        items = await read(api, path, **query)
        assert [item["execution_id"] for item in items] == expected, query
    items = await read(api, path, silent="true")
    assert all(item["silent_since"] is not None for item in items)


async def test_the_time_can_be_passed_in(api: Api) -> None:
    id_, last = await heard(api, "timed", timedelta(0), expectations={"heartbeat_seconds": 60})
    topic = api.settings.topics.events
    async with connected(api.settings.dsn) as owner:
        for seconds, silent in ((59, False), (60, False), (60.000001, True), (10**7, True)):
            moment = last + seconds * SECOND
            held = await queries.execution(owner, id_, "timed", topic, now=moment)
            assert held is not None
            assert (held.silence.silent_since is not None) is silent
