"""A service that is started anew whenever it ends, as its supervisor would."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from milepost.settings import Settings
from stack import Service


class Supervised:
    """`restarts` counts how often it was started anew."""

    def __init__(self, settings: Settings, folder: Path, command: str) -> None:
        self.restarts = 0
        self._settings = settings
        self._folder = folder
        self._command = command
        self._ready: asyncio.Future[Service] = asyncio.get_running_loop().create_future()

    async def up(self) -> Service:
        """The process, once it is ready."""
        while True:
            service = await asyncio.shield(self._ready)
            if service.exit_status is None:
                return service
            await asyncio.sleep(0)  # it has ended just now, and `run` has not heard of it yet

    async def run(self) -> None:
        """Until cancelled; then it must end in order."""
        while True:
            try:
                service = await Service.start(self._settings, self._folder, self._command)
            except AssertionError:  # not ready: what it needs is away
                self.restarts += 1
                continue
            self._ready.set_result(service)
            try:
                await service.wait()
                self.restarts += 1
            finally:
                self._ready = asyncio.get_running_loop().create_future()
                if service.exit_status is None:
                    assert await service.stop() == 0


@asynccontextmanager
async def supervised(
    settings: Settings, folder: Path, *commands: str
) -> AsyncIterator[list[Supervised]]:
    """These services, all ready, until the block ends."""
    services = [Supervised(settings, folder, command) for command in commands]
    tasks = [asyncio.create_task(service.run()) for service in services]
    try:
        await asyncio.gather(*(service.up() for service in services))
        yield services
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        errors = [error for error in ended if isinstance(error, Exception)]
        if errors:
            raise ExceptionGroup("services that did not end in order", errors)
