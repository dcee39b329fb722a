"""Looking at one execution, waiting for it, calling it off."""

import asyncio
from datetime import timedelta
from uuid import uuid4

import pytest

from api.harness import Api, connected, now, requested, seconds
from milepost.projections import queries
from milepost.schemas.events import CancellationRequested, Failed, Progressed, Started, Succeeded
from milepost.schemas.notifications import Execution
from milepost.schemas.values import Failure, Progress, Resource


async def test_workflow_can_query_compute_execution_status(api: Api) -> None:
    failure = Failure(code="OutOfMemory", message="killed", details={"limit": "512Mi"})
    execution_id = await api.execution(
        "acme",
        Started(occurred_at=now(), resources=(Resource("k8s.pod", "web-1"),)),
        Progressed(occurred_at=now(), progress=Progress(percent=40, message="pulling image")),
        Failed(occurred_at=now(), failure=failure),
        provider="kubernetes",
        parameters={"cpu": 2},
    )
    found = await api.get(f"/v1/executions/{execution_id}")
    view = Execution.model_validate(found)
    assert (view.state, view.version, view.operation) == ("failed", 4, "provision")
    assert view.progress == Progress(percent=40, message="pulling image")
    assert view.failure is not None
    assert view.failure.details == {"limit": "512Mi"}
    assert [one.id for one in view.resources] == ["web-1"]
    assert [one.state for one in view.transitions] == ["pending", "running", "failed"]
    assert found["recorded_at"].endswith("Z")


async def test_an_answer_names_the_lag_of_its_partition(api: Api) -> None:
    execution_id = await api.execution("acme")
    await api.log.report("acme", str(uuid4()), Started(occurred_at=now()), partition=1)
    await api.log.measure(behind=3, partition=0)
    lag = (await api.get(f"/v1/executions/{execution_id}"))["freshness"]["lag"]
    assert lag["records"] == 3
    assert 0 <= lag["age_seconds"] < 5
    # The other partition's end is not known, so neither is how far everything is behind.
    everything = await api.get("/v1/tenants/acme")
    assert everything["freshness"]["lag"]["records"] is None
    await api.log.measure(behind=4, partition=1)
    everything = await api.get("/v1/tenants/acme")
    assert everything["freshness"]["lag"]["records"] == 7


async def test_an_unchanged_execution_is_not_sent_again(api: Api) -> None:
    execution_id = await api.execution("acme")
    path = f"/v1/executions/{execution_id}"
    etag = (await api.http.get(path)).headers["etag"]
    for tags in (etag, f'"other", {etag}', etag.removeprefix("W/"), "*"):
        response = await api.http.get(path, headers={"If-None-Match": tags})
        assert (response.status_code, response.content) == (304, b"")
        assert response.headers["etag"] == etag
    await api.log.report("acme", execution_id, Started(occurred_at=now()))
    response = await api.http.get(path, headers={"If-None-Match": etag})
    assert response.status_code == 200
    assert response.headers["etag"] != etag


async def test_an_unknown_execution_is_404(api: Api) -> None:
    for path in ("", "/transitions", "/events", "/logs", "/resources"):
        problem = await api.get(f"/v1/executions/{uuid4()}{path}", 404)
        assert problem["type"] == "/problems/unknown-execution"


async def test_of_several_tenants_under_one_id_the_one_who_asked_is_found(api: Api) -> None:
    request = requested()
    execution_id = request.execution_id("owner")
    await api.log.report("squatter", execution_id, Started(occurred_at=now()))
    path = f"/v1/executions/{execution_id}"
    assert (await api.get(path))["tenant"] == "squatter"
    await api.log.report("owner", execution_id, request)
    assert (await api.get(path))["tenant"] == "owner"
    assert (await api.get(path, tenant="squatter"))["state"] == "running"
    assert (await api.get(path, tenant="owner"))["requested"] is True
    assert len((await api.get(f"{path}/events"))["items"]) == 1
    await api.get(path, 404, tenant="stranger")


async def test_a_report_for_another_tenant_does_not_hide_what_was_accepted(api: Api) -> None:
    accepted = await api.post("/v1/tenants/owner/executions", {"operation": "provision"})
    execution_id = accepted["execution_id"]
    await api.log.report("squatter", execution_id, Started(occurred_at=now()))
    found = await api.get(f"/v1/executions/{execution_id}")
    assert (found["tenant"], found["version"]) == ("owner", 0)
    # A report of its own tenant is news, whoever was folded first.
    waiting = asyncio.ensure_future(api.get(f"/v1/executions/{execution_id}", wait="10s"))
    await _waiters(api, 1)
    await api.log.report("owner", execution_id, Started(occurred_at=now()))
    found = await waiting
    assert (found["tenant"], found["version"]) == ("owner", 1)


class TestWaiting:
    async def test_a_terminal_execution_is_not_waited_for(self, api: Api) -> None:
        execution_id = await api.execution("acme", Succeeded(occurred_at=now()))
        took, found = await seconds(api.get(f"/v1/executions/{execution_id}", wait="30s"))
        assert found["state"] == "succeeded"
        assert took < 1

    async def test_a_newer_version_is_returned_within_50_ms_of_its_commit(self, api: Api) -> None:
        delays = []
        for _ in range(5):
            execution_id = await api.execution("acme")
            loop = asyncio.get_running_loop()

            async def wait(execution_id: str = execution_id) -> tuple[float, int]:
                found = await api.get(f"/v1/executions/{execution_id}", wait="10s")
                return asyncio.get_running_loop().time(), found["version"]

            waiting = asyncio.ensure_future(wait())
            await _waiters(api, 1)
            await api.log.report("acme", execution_id, Started(occurred_at=now()))
            committed = loop.time()
            answered, version = await waiting
            assert version == 2
            delays.append(answered - committed)
        assert sorted(delays)[2] < 0.05

    async def test_without_news_the_same_version_comes_back_in_time(self, api: Api) -> None:
        execution_id = await api.execution("acme")
        took, found = await seconds(api.get(f"/v1/executions/{execution_id}", wait="200ms"))
        assert found["version"] == 1
        assert 0.2 <= took < 2

    async def test_min_version_that_is_there_is_not_waited_for(self, api: Api) -> None:
        execution_id = await api.execution("acme", Started(occurred_at=now()))
        path = f"/v1/executions/{execution_id}"
        took, found = await seconds(api.get(path, wait="30s", min_version=2))
        assert (found["version"], took < 1) == (2, True)
        took, _ = await seconds(api.get(path, wait="100ms", min_version=3))
        assert took >= 0.1

    async def test_only_min_version_is_news(self, api: Api) -> None:
        execution_id = await api.execution("acme")
        waiting = asyncio.ensure_future(
            api.get(f"/v1/executions/{execution_id}", wait="10s", min_version=3)
        )
        await _waiters(api, 1)
        await api.log.report("acme", execution_id, Started(occurred_at=now()))
        percent = Progressed(occurred_at=now(), progress=Progress(percent=1))
        await api.log.report("acme", execution_id, percent)
        assert (await waiting)["version"] == 3

    async def test_an_id_that_is_not_known_yet_is_waited_for(self, api: Api) -> None:
        request = requested()
        execution_id = request.execution_id("acme")
        waiting = asyncio.ensure_future(api.get(f"/v1/executions/{execution_id}", wait="10s"))
        await _waiters(api, 1)
        await api.log.report("acme", execution_id, request)
        assert (await waiting)["version"] == 1

    async def test_an_id_that_stays_unknown_is_404(self, api: Api) -> None:
        took, _ = await seconds(api.get(f"/v1/executions/{uuid4()}", 404, wait="0.1"))
        assert took >= 0.1

    async def test_a_version_that_another_process_committed_before_the_wait_is_seen(
        self, api: Api
    ) -> None:
        """The race between looking and waiting: nothing notifies any more."""
        execution_id = await api.execution("acme", Started(occurred_at=now()))
        assert await api.parts.watch.newer(execution_id, None, 1, seconds=5)

    async def test_all_waiters_are_woken_after_the_listener_was_cut_off(self, api: Api) -> None:
        execution_id = await api.execution("acme")
        waiting = asyncio.ensure_future(api.get(f"/v1/executions/{execution_id}", wait="20s"))
        await _waiters(api, 1)
        async with connected(api.settings.dsn) as connection:
            cut = await connection.fetch(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND query LIKE 'LISTEN %'"
            )
            assert len(cut) == 1
            # Committed while nobody listens: only asking again after reconnecting can tell.
            await api.log.report("acme", execution_id, Started(occurred_at=now()))
        took, found = await seconds(waiting)
        assert (found["version"], took < 5) == (2, True)

    async def test_many_waiters_share_one_query_per_notification(
        self, api: Api, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ids = [await api.execution("acme") for _ in range(20)]
        asked: list[int] = []
        ask, watch, quiet = queries.versions, api.parts.watch, asyncio.Event()

        async def counting(connection: object, execution_ids: list[str]) -> object:
            asked.append(len(execution_ids))
            found = await ask(connection, execution_ids)  # type: ignore[arg-type]
            if len(execution_ids) == 20 and not watch._ask.is_set():
                quiet.set()
            return found

        monkeypatch.setattr(queries, "versions", counting)
        waiting = [asyncio.ensure_future(watch.newer(id_, None, 1, 10)) for id_ in ids]
        # Their own first questions are not those to count.
        await asyncio.wait_for(quiet.wait(), 5)
        asked.clear()
        started = Started(occurred_at=now())
        for id_ in ids:
            await api.log.report("acme", id_, started)
        assert all(await asyncio.gather(*waiting))
        assert len(asked) <= 20
        assert max(asked) <= 20


async def _waiters(api: Api, number: int) -> None:
    """Return when this many wait."""
    async with asyncio.timeout(5):
        # Nobody but this test wants to hear of it, so there is no event to wait for.
        while sum(map(len, api.parts.watch._waiters.values())) < number:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


class TestCancelling:
    async def test_the_intent_is_published_and_the_state_stays(self, api: Api) -> None:
        execution_id = await api.execution("acme", Started(occurred_at=now()))
        view = await api.post(
            f"/v1/executions/{execution_id}:cancel", {"reason": "not needed", "requested_by": "ops"}
        )
        assert (view["execution_id"], view["state"]) == (execution_id, "running")
        [event] = [one for one in await api.published() if one.execution_id == execution_id]
        assert event.tenant == "acme"
        assert isinstance(event.data, CancellationRequested)
        assert (event.data.reason, event.data.requested_by) == ("not needed", "ops")

    async def test_a_body_is_not_needed(self, api: Api) -> None:
        execution_id = await api.execution("acme")
        response = await api.http.post(f"/v1/executions/{execution_id}:cancel")
        assert response.status_code == 202
        assert response.headers["location"] == f"/v1/executions/{execution_id}"

    async def test_an_execution_that_is_over_is_not_called_off(self, api: Api) -> None:
        execution_id = await api.execution("acme", Succeeded(occurred_at=now()))
        problem = await api.post(f"/v1/executions/{execution_id}:cancel", status=409)
        assert problem["type"] == "/problems/already-terminal"

    async def test_an_unknown_execution_is_404(self, api: Api) -> None:
        await api.post(f"/v1/executions/{uuid4()}:cancel", status=404)

    async def test_one_that_only_the_ledger_knows_can_be_called_off(self, api: Api) -> None:
        accepted = await api.post("/v1/tenants/acme/executions", {"operation": "provision"})
        view = await api.post(f"/v1/executions/{accepted['execution_id']}:cancel")
        assert (view["state"], view["version"]) == ("pending", 0)


async def test_times_are_those_of_the_events(api: Api) -> None:
    begun = now() - timedelta(hours=1)
    execution_id = await api.execution("acme", Started(occurred_at=begun))
    items = (await api.get(f"/v1/executions/{execution_id}/transitions"))["items"]
    assert [item["state"] for item in items] == ["pending", "running"]
    assert items[1]["occurred_at"] == begun.isoformat().replace("+00:00", "Z")
    assert items[1]["skewed"] is True
