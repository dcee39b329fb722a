"""Reading an execution over the API beside the same query on as many raw connections, alternated."""

import asyncio
import json
import os
import sys
from itertools import islice
from typing import Any

from benchmarks.backlog import fold, histories, load
from benchmarks.stack import Stack, service

EXECUTIONS = 1_000
SECONDS = 3.0


async def measure(stack: Stack, runs: int) -> dict[str, list[float]]:
    """Thousand reads a second of one API process and of raw asyncpg, and their ratio pair by pair."""
    settings = await stack.fresh()
    await load(settings, EXECUTIONS)
    await fold(settings, EXECUTIONS * 5)
    ids = [key.decode() for key, *_ in islice(histories("key"), 0, EXECUTIONS * 5, 5)]
    figures: dict[str, list[float]] = {
        "api: thousand GET /v1/executions/{id} a second": [],
        "api: thousand raw asyncpg reads a second": [],
        "api: ratio to raw asyncpg": [],
        "api: CPU of the API, microseconds a read": [],
        "api: GET /v1/executions/{id}, 16 connections, ms": [],
    }
    over_http, raw, ratio, cpu, times = figures.values()
    async with service(settings, "api") as running:
        for number in range(runs + 1):
            before = running.cpu
            http = await _read("http", running.ready["api"], settings.topics.events, ids)
            used = (running.cpu - before) / len(http["ms"]) * 1e6
            sql = await _read("sql", settings.dsn, settings.topics.events, ids)
            if number:  # the first run warms up
                over_http.append(http["rate"] / 1e3)
                raw.append(sql["rate"] / 1e3)
                ratio.append(http["rate"] / sql["rate"])
                cpu.append(used)
                times += http["ms"]
    return figures


async def _read(kind: str, address: str, topic: str, ids: list[str]) -> dict[str, Any]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.readers", kind, str(SECONDS),
        env=os.environ | {"READERS_AT": address, "READERS_TOPIC": topic},
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, _ = await process.communicate("\n".join(ids).encode())
    assert process.returncode == 0, f"the {kind} readers failed"
    told: dict[str, Any] = json.loads(output)
    return told
