"""Nothing lost, nothing twice: processors killed under load, each time after progress."""

import asyncio
import os

from conftest import StartService
from milepost.settings import Settings
from processor.history import send
from processor.oracle import Load, nothing_lost_nothing_twice
from signals import following

KILLS = int(os.environ.get("MILEPOST_TEST_KILLS", "3"))


async def test_kill_9_loses_and_repeats_nothing(settings: Settings, service: StartService) -> None:
    load = Load(500 * KILLS)
    sending = asyncio.create_task(send(settings, load.records))
    async with following(settings) as positions:
        survivor = await service("processor")
        for kill in range(1, KILLS + 1):
            worker = await service("processor")
            await positions.reach(kill * load.count // (KILLS + 2))
            await survivor.kill()
            survivor = worker
        await sending
        assert await positions.reach_end() == load.count
    await nothing_lost_nothing_twice(settings, load)
