"""Rebuilds with a processor folding, a publisher publishing and a client reading all the while."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import asyncpg
import httpx2
import pytest

from conftest import StartService
from milepost.projections import rebuild
from milepost.settings import Settings
from processor.history import execution, send
from processor.oracle import Load, nothing_lost_nothing_twice
from projections.stored import until
from signals import following
from stack import environment

REBUILDS = 3
SOME = 70
TENANT = "tenant-0"

Milepost = Callable[..., Awaitable[tuple[int, Any]]]


@pytest.fixture(scope="module")
def milepost(settings: Settings) -> Milepost:
    """Runs `milepost <arguments> -o json` to its end; the exit status and what it printed."""

    async def run(*arguments: str) -> tuple[int, Any]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "milepost.cli", *arguments, "-o", "json"),
            env=environment(settings),
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await process.communicate()
        assert process.returncode is not None
        return process.returncode, json.loads(out)

    return run


@pytest.fixture(scope="module")
async def api(settings: Settings, service: StartService) -> str:
    """The API's URL; a processor has folded some executions."""
    _, api = await asyncio.gather(service("processor"), service("api"))
    async with following(settings) as positions:
        await send(settings, Load(SOME).records)
        await positions.reach_end()
    url: str = api.ready["api"]
    return url


async def test_rebuilds_while_everything_goes_on(settings: Settings, api: str) -> None:
    rebuilt = asyncio.Event()
    generations: list[int] = []
    async with reading(api) as counts:
        publishing = asyncio.create_task(_publish(settings, rebuilt))
        for _ in range(REBUILDS):
            result = await rebuild.rebuild(settings.dsn)
            assert (result.equal, result.carried_over) == (True, 0), result
            assert result.generation is not None
            generations.append(result.generation)
        verified = await rebuild.verify(settings.dsn)
        assert verified.equal, verified
        assert not publishing.done()
        rebuilt.set()
        load = Load(await publishing)
    assert [after - before for before, after in pairwise(generations)] == [1] * (REBUILDS - 1)
    assert counts == sorted(counts)
    assert counts[-1] > counts[0]
    await nothing_lost_nothing_twice(settings, load)


async def test_damage_is_an_exit_status_until_a_rebuild(
    settings: Settings, api: str, milepost: Milepost
) -> None:
    connection = await asyncpg.connect(settings.dsn)
    await connection.execute(
        "DELETE FROM executions WHERE state = 'failed' AND tenant = $1", TENANT
    )
    await connection.close()
    status, damaged = await milepost("projections", "rebuild", "--verify")
    assert (status, damaged["equal"], damaged["differences"][0]["what"]) == (1, False, "missing")
    status, healed = await milepost("projections", "rebuild")
    assert (status, healed["folded_hash"]) == (0, damaged["folded_hash"])
    status, back = await milepost("projections", "rollback")
    assert (status, back["generation"]) == (0, healed["generation"] + 1)
    status, _ = await milepost("projections", "rebuild")
    assert status == 0


async def test_the_log_has_partitions_ahead(
    settings: Settings, service: StartService, milepost: Milepost
) -> None:
    status, partitions = await milepost("db", "maintain")
    assert (status, [one["made"] for one in partitions]) == (0, [False] * 3)
    newest = partitions[-1]["partition"]
    connection = await asyncpg.connect(settings.dsn)
    await connection.execute(f"DROP TABLE {newest}")
    _, partitions = await milepost("db", "maintain")
    assert partitions[-1] == {"partition": newest, "made": True}
    await connection.execute(f"DROP TABLE {newest}")
    await service("processor")
    await until(connection, f"to_regclass('{newest}') IS NOT NULL")
    await connection.close()


async def _publish(settings: Settings, enough: asyncio.Event) -> int:
    """Publish whole executions, a few at a time as they are folded, until it is enough; how many."""
    number = SOME
    async with following(settings) as positions:
        while not enough.is_set():
            few: list[Any] = []
            for _ in range(20):
                few += execution(f"tenant-{number % 7}", f"key-{number}", fails=number % 10 == 0)
                number += 1
            await send(settings, few)
            await positions.reach(number * 5)
    return number


@asynccontextmanager
async def reading(url: str) -> AsyncIterator[list[int]]:
    """Asks for a tenant's counts again and again: how many executions each answer counted."""
    counts: list[int] = []

    async def read() -> None:
        async with httpx2.AsyncClient(base_url=url, trust_env=False) as http:
            while True:
                summary = (await http.get(f"/v1/tenants/{TENANT}")).raise_for_status().json()
                page = await http.get(f"/v1/tenants/{TENANT}/executions?page_size=1")
                page.raise_for_status()
                counts.append(sum(summary["executions"].values()))

    reader = asyncio.create_task(read())
    try:
        yield counts
        assert not reader.done(), reader.exception()
    finally:
        reader.cancel()
