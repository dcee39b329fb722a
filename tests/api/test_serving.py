"""The process: ready line, signals, a port that is taken, a broker or a database that is away."""

import asyncio
import contextlib
import json
import signal
import socket
import sys
from collections.abc import AsyncIterator
from copy import copy
from datetime import timedelta
from urllib.parse import urlsplit
from uuid import uuid4

import httpx2
import pytest

from api.harness import Api, connected, document, now, requested, running_api, seconds, served
from milepost.api import CannotServe, serve
from milepost.api.routes.health import readiness
from milepost.client import MilepostClient, State
from milepost.projections import queries
from milepost.schemas.events import Succeeded
from milepost.settings import Settings
from signals import DEADLINE
from stack import environment

SERVE = """
import asyncio
from milepost.api import serve
from milepost.cli import logs
from milepost.settings import Settings
logs.configure(Settings())
asyncio.run(serve(Settings()))
"""


@contextlib.asynccontextmanager
async def process(settings: Settings) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """The API as a process of its own, and its address."""
    running = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SERVE,
        env=environment(settings), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert running.stdout is not None
        line = await asyncio.wait_for(running.stdout.readline(), 15)
        yield running, json.loads(line)["api"]
    finally:
        if running.returncode is None:
            running.kill()
        await running.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_in_time_with_long_polls_open(
    settings: Settings, number: signal.Signals
) -> None:
    async with process(settings) as (running, url), httpx2.AsyncClient(base_url=url) as http:
        # Five connections, open and idle: what is sent on them now is there at once.
        await asyncio.gather(*_polls(http, "200ms"))
        waits = _polls(http, "60s")
        # Answered on a sixth one: the five are under way.
        assert (await http.get("/healthz")).json() == {"status": "ok"}
        took, status = await seconds(_end(running, number))
        assert (status, took < 5) == (0, True)
        for response in await asyncio.gather(*waits):
            problem = document(response, 503)
            assert problem["type"] == "/problems/shutting-down"
            assert response.headers["retry-after"].isdecimal()


def _polls(http: httpx2.AsyncClient, wait: str) -> list[asyncio.Future[httpx2.Response]]:
    paths = [f"/v1/executions/{uuid4()}?wait={wait}" for _ in range(5)]
    return [asyncio.ensure_future(http.get(path)) for path in paths]


async def _end(running: asyncio.subprocess.Process, number: signal.Signals) -> int:
    running.send_signal(number)
    return await running.wait()


async def test_waiting_outlives_an_api_that_is_killed_and_started_again(
    settings: Settings, api: Api
) -> None:
    execution_id = await api.execution("acme")
    async with contextlib.AsyncExitStack() as stack:
        async with process(settings) as (running, url):
            client = await stack.enter_async_context(MilepostClient(url))
            waiting = asyncio.ensure_future(client.wait(execution_id, timeout=30))
            await _held(api.settings.dsn)
            running.kill()
        assert not waiting.done()
        await api.log.report("acme", execution_id, Succeeded(occurred_at=now()))
        async with process(away(settings, api_port=urlsplit(url).port)) as (_, again):
            assert again == url
            assert (await waiting).state is State.SUCCEEDED


async def test_whom_a_proxy_names_asks_only_where_the_proxy_is_trusted(settings: Settings) -> None:
    path, named = f"/v1/tenants/t{uuid4().hex}", {"X-Forwarded-For": "198.51.100.1, 203.0.113.9"}
    for proxies in ((), ("127.0.0.0/8",)):
        required = away(settings, api_access="required", api_trusted_proxies=proxies)
        async with process(required) as (_, url), httpx2.AsyncClient(base_url=url) as http:
            document(await http.get(path, headers=named), 401)
    async with connected(settings.dsn) as connection:
        query = "SELECT address FROM audit WHERE target = $1 ORDER BY at"
        addresses = [row[0] for row in await connection.fetch(query, f"GET {path}")]
    assert addresses == ["127.0.0.1", "203.0.113.9"]


async def _held(dsn: str) -> None:
    """Return once some API process holds a long poll: it has looked whether there is news already."""
    looked = """
        SELECT EXISTS (
            SELECT FROM pg_stat_activity
            WHERE datname = current_database() AND application_name = 'milepost-api'
                AND query = $1
        )"""
    async with connected(dsn) as connection, asyncio.timeout(DEADLINE):
        while not await connection.fetchval(looked, queries.READ["versions"]):
            pass


async def test_a_port_that_is_taken_is_named_with_the_remedy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        with pytest.raises(CannotServe, match=f"port {port} on 127.0.0.1 is taken.*API_PORT"):
            await serve(Settings(api_port=port))


async def test_an_address_that_is_not_here_is_named() -> None:
    for host in ("192.0.2.1", "no such host"):
        with pytest.raises(CannotServe, match=f"cannot listen on {host}.*API_HOST"):
            await serve(Settings(api_host=host, api_port=0))


async def test_what_is_away_at_the_start_is_named_and_where_it_was_looked_for(
    settings: Settings,
) -> None:
    nowhere = "postgresql://postgres:secret@127.0.0.1:9/milepost"
    with pytest.raises(CannotServe, match=r"127.0.0.1:9/milepost.*MILEPOST_DATABASE_URL") as raised:
        await serve(away(settings, database_url=nowhere))
    assert "secret" not in str(raised.value)
    with pytest.raises(CannotServe, match=r"127.0.0.1:9 .*MILEPOST_KAFKA_BOOTSTRAP_SERVERS"):
        await serve(away(settings, kafka_bootstrap_servers="127.0.0.1:9"))
    with pytest.raises(CannotServe, match=r"no topic other.events.v1.*topics apply"):
        await serve(away(settings, topic_prefix="other."))


async def test_a_ready_api_says_so(api: Api) -> None:
    found = await api.get("/readyz")
    assert found["ready"] is True
    assert set(found["checks"]) == {"database", "broker", "positions"}


async def test_processors_that_report_no_more_are_named(api: Api) -> None:
    request = requested()
    await api.log.report("acme", request.execution_id("acme"), request)
    await api.log.measure(behind=0)
    assert (await api.get("/readyz"))["ready"] is True
    later = now() + timedelta(minutes=1)
    parts = copy(api.parts)
    parts.now = lambda: later
    checks = (await readiness(parts))["checks"]
    assert checks["positions"] == {"ok": False, "detail": "no processor reports on partition 0"}
    async with connected(api.settings.dsn) as connection:
        await connection.execute("UPDATE positions SET problem = 'the topic was recreated'")
        detail = (await readiness(api.parts))["checks"]["positions"]["detail"]
        await connection.execute("UPDATE positions SET problem = NULL")
    assert detail == "partition 0: the topic was recreated"


def away(settings: Settings, **where: object) -> Settings:
    """The settings with something where nothing listens."""
    return Settings(**{**dict(settings), **where})


async def test_without_a_broker_reads_answer_and_requests_wait_in_the_ledger(
    settings: Settings,
) -> None:
    async with running_api(away(settings, kafka_bootstrap_servers="127.0.0.1:9")) as api:
        path, headers = "/v1/tenants/acme/executions", {"Idempotency-Key": str(uuid4())}
        took, response = await seconds(
            api.http.post(path, json={"operation": "provision"}, headers=headers)
        )
        assert document(response, 503)["type"] == "/problems/broker-unavailable"
        assert took < 5
        assert response.headers["retry-after"].isdecimal()
        execution_id = await api.execution("acme")
        await api.get(f"/v1/executions/{execution_id}")
        ready = await api.http.get("/readyz")
        assert ready.status_code == 503
        assert ready.json()["checks"]["broker"]["ok"] is False
        assert "127.0.0.1:9" in ready.json()["checks"]["broker"]["detail"]
        assert ready.json()["checks"]["database"]["ok"] is True
        async with connected(settings.dsn) as connection:
            rows = await connection.fetch("SELECT * FROM requests WHERE published_at IS NULL")
    [row] = rows
    async with running_api(settings) as again:
        found = await again.get(f"/v1/executions/{row['execution_id']}")
        assert (found["state"], found["version"]) == ("pending", 0)
        # Where this took long, it has been swept already.
        await again.parts.ledger.sweep(timedelta(0))
        events = [one.id for one in await again.published()]
        assert events.count(row["event_id"]) == 1


async def test_without_a_database_every_route_says_so(settings: Settings) -> None:
    nowhere = away(settings, database_url="postgresql://postgres@127.0.0.1:9/milepost")
    async with served(nowhere) as (url, _), httpx2.AsyncClient(base_url=url) as http:
        for path in (
            f"/executions/{uuid4()}", f"/executions/{uuid4()}/events", "/tenants/acme",
            "/tenants/acme/executions", "/resources?kind=k8s.pod&id=1",
        ):  # fmt: skip
            problem = document(await http.get(f"/v1{path}"), 503)
            assert problem["type"] == "/problems/database-unavailable"
        response = await http.post("/v1/tenants/acme/executions", json={"operation": "x"})
        assert document(response, 503)["type"] == "/problems/database-unavailable"
        assert (await http.get("/healthz")).status_code == 200
        ready = await http.get("/readyz")
        assert ready.status_code == 503
        assert ready.json()["checks"]["database"]["ok"] is False


async def test_a_database_that_is_not_migrated_says_so(settings: Settings, postgres: str) -> None:
    empty = away(settings, database_url=postgres)
    async with served(empty) as (url, _), httpx2.AsyncClient(base_url=url) as http:
        problem = document(await http.get("/v1/tenants/acme"), 503)
        assert "milepost db migrate" in problem["detail"]
        detail = (await http.get("/readyz")).json()["checks"]["database"]["detail"]
        assert "milepost db migrate" in detail


async def test_a_database_that_comes_back_is_used_again(api: Api) -> None:
    execution_id = await api.execution("acme")
    async with connected(api.settings.dsn) as connection:
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = 'milepost-api'"
        )
    statuses = set()
    for _ in range(20):
        response = await api.http.get(f"/v1/executions/{execution_id}")
        statuses.add(response.status_code)
    assert response.status_code == 200
    assert statuses <= {200, 503}
