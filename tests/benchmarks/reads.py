"""One API process and raw asyncpg read the same execution in turns, over 16 connections each; and how
soon a long poll hears of a commit.

Run it by itself: `python -m benchmarks.reads` (in tests/).
"""

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import httpx2
import uvloop

from api.harness import Log, now, requested
from benchmarks.stack import Running, Stack, running, service
from milepost.api.database import SESSION
from milepost.api.keys import make_key
from milepost.projections import store
from milepost.projections.queries import READ
from milepost.projections.queries.access import make_api_key
from milepost.schemas.events import Progressed, Started, Succeeded
from milepost.schemas.values import Progress, Resource
from milepost.settings import Settings

CONNECTIONS = 16
ROUNDS = 9
SECONDS = 2.0
POLLS = 50
TENANT = "acme"
SHOW = "SELECT set_config('milepost.tenant', $1, false)"


async def measure(stack: Stack) -> dict[str, list[float]]:
    """Reads a second of both, their ratio pair by pair, CPU and latency; then the long polls."""
    fresh = await stack.fresh()
    settings = fresh.model_copy(
        update={"api_access": "required", "api_requests_per_second": 1_000_000}
    )
    token = await _token(settings)
    async with (
        await store.connect(settings.dsn, size=2) as pool,
        service(settings, "api") as api,
        httpx2.AsyncClient(
            base_url=api.ready["api"], headers={"Authorization": f"Bearer {token}"}, trust_env=False
        ) as http,
    ):
        log = Log(pool, settings)
        execution_id = await _executed(log)
        url = f"{api.ready['api']}/v1/executions/{execution_id}"
        figures = await _read(settings, api, url, token)
        figures["long poll: answer after the commit, ms"] = [
            await _polled(log, http) for _ in range(POLLS)
        ]
    return figures


async def _read(settings: Settings, api: Running, url: str, token: str) -> dict[str, list[float]]:
    raw: list[float] = []
    once: list[float] = []
    served: list[float] = []
    raw_cpu: list[float] = []
    cpu: list[float] = []
    slowest: list[float] = []
    milliseconds: list[float] = []
    async with asyncpg.create_pool(
        settings.dsn, min_size=CONNECTIONS, max_size=CONNECTIONS, server_settings=SESSION
    ) as pool:
        await _load(url, token)  # statements prepared, code warm
        await _raw(settings, pool, url)
        for _ in range(ROUNDS):
            used = time.process_time()
            raw.append(await _raw(settings, pool, url))
            raw_cpu.append((time.process_time() - used) / (raw[-1] * SECONDS) * 1e3)
            once.append(await _raw(settings, pool, url, told_once=True))
            used = api.cpu
            answered = await _load(url, token)
            cpu.append((api.cpu - used) / len(answered["milliseconds"]) * 1e3)
            served.append(answered["rate"])
            slowest.append(_at(answered["milliseconds"], 0.99))
            milliseconds += answered["milliseconds"]
    return {
        "raw asyncpg, reads/s": raw,
        "raw asyncpg, told its tenant once, reads/s": once,
        "GET execution, reads/s": served,
        "ratio, pair by pair": [one / other for one, other in zip(served, raw, strict=True)],
        "CPU of the process with raw asyncpg, ms a read": raw_cpu,
        "CPU of the API process, ms a request": cpu,
        "ratio of CPU, pair by pair": [
            one / other for one, other in zip(raw_cpu, cpu, strict=True)
        ],
        "GET execution, 99 % of a round, ms": slowest,
        "GET execution, ms": milliseconds,
    }


async def _raw(settings: Settings, pool: Any, url: str, *, told_once: bool = False) -> float:
    """Reads a second of the row of `url`, with the statements that a request to the API has: whose rows
    to show, each time or `told_once`, and the row."""
    execution_id = urlsplit(url).path.rpartition("/")[2]
    began = time.perf_counter()
    deadline = began + SECONDS

    async def read() -> int:
        count = 0
        async with pool.acquire() as connection:
            while time.perf_counter() < deadline:
                if not (told_once and count):
                    await connection.execute(SHOW, TENANT)
                row = await connection.fetchrow(
                    READ["execution"], execution_id, None, settings.topics.events, "{}", None
                )
                assert row is not None
                count += 1
        return count

    counts = await asyncio.gather(*(read() for _ in range(CONNECTIONS)))
    return sum(counts) / (time.perf_counter() - began)


async def _load(url: str, token: str) -> dict[str, Any]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.load",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    asked = {"url": url, "token": token, "connections": CONNECTIONS, "seconds": SECONDS}
    out, _ = await process.communicate(json.dumps(asked).encode())
    answered: dict[str, Any] = json.loads(out)
    return answered


async def _polled(log: Log, http: httpx2.AsyncClient) -> float:
    """Milliseconds from a commit of the fold to the answer of a long poll that waited for it."""
    request = requested()
    execution_id = request.execution_id(TENANT)
    await log.report(TENANT, execution_id, request)
    path = f"/v1/executions/{execution_id}"
    poll = asyncio.create_task(http.get(path, params={"wait": "30s"}))
    await asyncio.sleep(0.05)  # until it waits
    assert not poll.done()
    await log.report(TENANT, execution_id, Started(occurred_at=now()))
    committed = time.perf_counter()
    response = await poll
    took = (time.perf_counter() - committed) * 1e3
    assert response.json()["version"] == 2, response.text
    return took


async def _executed(log: Log) -> str:
    """An execution of the usual five events, in one of four partitions whose ends are known."""
    request = requested(provider="kubernetes", parameters={"cpu": 2}, labels={"team": "web"})
    execution_id = request.execution_id(TENANT)
    for partition in range(4):
        other = requested()
        await log.report(TENANT, other.execution_id(TENANT), other, partition=partition)
        await log.measure(behind=3, partition=partition)
    pods = (Resource("k8s.pod", "web-1"), Resource("k8s.pod", "web-2"))
    await log.report(
        TENANT,
        execution_id,
        request,
        Started(occurred_at=now(), resources=pods),
        Progressed(occurred_at=now(), progress=Progress(percent=40, message="pulling image")),
        Progressed(occurred_at=now(), progress=Progress(percent=90, message="starting")),
        Succeeded(occurred_at=now(), outputs={"address": "10.0.0.1"}),
    )
    return execution_id


async def _token(settings: Settings) -> str:
    made = make_key("reads", [f"{TENANT}:reader"], by="benchmark", now=now())
    connection = await asyncpg.connect(settings.dsn)
    await make_api_key(connection, made.key)
    await connection.close()
    return made.token.get_secret_value()


def _at(values: Iterable[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


async def main() -> None:
    """Measure on a stack of its own, and print."""
    with tempfile.TemporaryDirectory(prefix="milepost-bench-") as name:
        async with running(Path(name)) as stack:
            for figure, values in (await measure(stack)).items():
                told = (
                    f"{min(values):,.3f} to {max(values):,.3f}"
                    if len(values) <= ROUNDS
                    else f"99 % {_at(values, 0.99):,.1f}, most {max(values):,.1f}"
                )
                print(f"{figure}: median {median(values):,.3f}, {told}")


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
