"""What a worker says when it ends: why, in one line; no trace of its own or of a library."""

import asyncpg
import pytest

from conftest import StartService
from milepost.settings import Settings
from processor.history import execution, send


@pytest.fixture(scope="module")
def told(settings: Settings) -> Settings:
    """As it is run: at debug there are traces, too."""
    return settings.model_copy(update={"log_level": "info"})


async def test_a_stop(told: Settings, service: StartService) -> None:
    worker = await service("processor", settings=told)
    assert await worker.stop() == 0
    _, assigned, stopped = worker.tail().rpartition("partitions_assigned")
    assert assigned
    assert [" stopped " in line for line in stopped.splitlines()[1:]] == [True], worker.tail()


async def test_a_crash(told: Settings, service: StartService) -> None:
    look = await asyncpg.connect(told.dsn)
    worker = await service("processor", settings=told)
    await look.execute("ALTER TABLE resources RENAME TO elsewhere")
    await look.close()
    await send(told, execution("acme", "k-1"), partition=0)
    assert await worker.wait() == 69
    lines = worker.tail().splitlines()
    assert [line for line in lines if line.startswith("milepost: ")] == lines[-1:]
    assert '"resources" does not exist' in lines[-1]
    assert all(line.startswith("20") for line in lines[:-1]), worker.tail()
