"""The faults that Milepost is to survive. Each is a block: it is over when the block has been left."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    suppress,
)
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeAlias

import asyncpg

from faults import ambiguous
from faults.proxy import Proxy
from faults.supervised import Supervised
from faults.system import System
from signals import Positions, end_of, following
from stack import Service

Strike: TypeAlias = Callable[[System], AbstractAsyncContextManager[None]]

# Longer than the session of a worker under test, and than the time in which Postgres ends a stopped
# one's transaction.
STOPPED: Final = 3.0
# Longer than any timeout of the clients: the longest are 15 s.
FORGOTTEN: Final = 30.0
STOP: Final = 5.0  # seconds that an orderly end may take
MORE: Final = 3  # workers: with the two there are, one more than there are partitions
_OFTEN: Final = {
    ("processor", "SIGKILL"): 2,
    ("processor", "SIGSTOP"): 1,
    ("processor", "SIGTERM"): 1,
    ("API", "SIGKILL"): 1,
    ("webhooks", "SIGKILL"): 1,
}


@dataclass(frozen=True)
class Fault:
    """A fault by its name. `quick`: how often `make test` has it; `slow`: a tenth as often as others."""

    name: str
    strike: Strike
    quick: int = 0
    slow: bool = False

    @property
    def slug(self) -> str:
        """The name as it can be part of a tenant's."""
        return self.name.lower().replace(" ", "-").replace("/", "-")


@asynccontextmanager
async def _killed(which: Callable[[System], Supervised], system: System) -> AsyncIterator[None]:
    await (await which(system).up()).kill()
    yield


@asynccontextmanager
async def _stopped(which: Callable[[System], Supervised], system: System) -> AsyncIterator[None]:
    service = await which(system).up()
    os.kill(service.pid, signal.SIGSTOP)
    try:
        await asyncio.sleep(STOPPED)
    finally:
        os.kill(service.pid, signal.SIGCONT)
    yield


@asynccontextmanager
async def _ended(which: Callable[[System], Supervised], system: System) -> AsyncIterator[None]:
    service = await which(system).up()
    began = time.monotonic()
    assert await service.stop() == 0
    assert time.monotonic() - began < STOP, f"{service} took too long to end\n{service.tail()}"
    yield


@asynccontextmanager
async def _server_killed(which: str, system: System) -> AsyncIterator[None]:
    server = system.kafka if which == "kafka" else system.postgres
    await server.kill()
    await server.start()
    yield


@asynccontextmanager
async def _server_restarted(which: str, system: System) -> AsyncIterator[None]:
    await (system.kafka if which == "kafka" else system.postgres).restart()
    yield


@asynccontextmanager
async def _sessions_ended(system: System) -> AsyncIterator[None]:
    look = await system.look()
    await _end_sessions(look)
    await look.close()
    yield


@asynccontextmanager
async def _no_connection_left(system: System) -> AsyncIterator[None]:
    """The services lose theirs, and others have taken all that Postgres allows."""
    look = await system.look()
    taken: list[asyncpg.Connection] = []
    try:
        while await _end_sessions(look):
            with suppress(asyncpg.TooManyConnectionsError):
                while True:
                    taken.append(await system.look())
        await asyncio.sleep(STOPPED)
    finally:
        for connection in [*taken, look]:
            connection.terminate()
    yield


async def _end_sessions(look: asyncpg.Connection) -> int:
    """End every session of the services; how many there were."""
    ended: int = await look.fetchval(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
        " WHERE application_name LIKE 'milepost-%'"
    )
    return ended


@asynccontextmanager
async def _rebalances(system: System) -> AsyncIterator[None]:
    """More workers join, until one has no partition; they leave again, in order and not, as do others."""
    more: list[Service] = []
    try:
        async with following(system.direct) as positions:
            for _ in range(MORE):
                more.append(await Service.start(system.through, system.logs, "processor"))
                await _progress(system, positions)
            for leave, worker in zip((Service.stop, Service.kill, Service.stop), more, strict=True):
                await leave(worker)
                await _progress(system, positions)
            for leave in (Service.stop, Service.kill):
                await leave(await _processor(system).up())
                await _progress(system, positions)
    finally:
        for worker in more:
            await worker.kill()
    yield


async def _progress(system: System, positions: Positions) -> None:
    """Until more is folded than now, if there is more."""
    folded = await positions.reach(0)
    end = await end_of(system.direct, system.direct.topics.events)
    await positions.reach(min(folded + 1, end))


@asynccontextmanager
async def _commits_in_doubt(system: System) -> AsyncIterator[None]:
    """Every service is one whose commits are often of unknown outcome, until all is folded."""
    os.environ[ambiguous.VARIABLE] = "0.3"
    try:
        await _start_anew(system.services)
        async with following(system.direct) as positions:
            await positions.reach_end()
    finally:
        del os.environ[ambiguous.VARIABLE]
    await _start_anew(system.services)
    yield


async def _start_anew(services: Sequence[Supervised]) -> None:
    for running in await asyncio.gather(*(service.up() for service in services)):
        await running.stop()
    await asyncio.gather(*(service.up() for service in services))


@asynccontextmanager
async def _network(
    which: Callable[[System], Proxy], how: str, lasts: float, system: System
) -> AsyncIterator[None]:
    proxy = which(system)
    blocks: dict[str, Callable[[], AbstractContextManager[None]]] = {
        "cut": proxy.cut,
        "half-open": proxy.half_open,
        "delay": partial(proxy.slow, delay=0.05),
        "throttle": partial(proxy.slow, rate=200_000.0),
    }
    with blocks[how]():
        await asyncio.sleep(lasts)
    yield


def _processor(system: System) -> Supervised:
    # In turn, so that none stays the one that is never struck.
    system.processors.append(system.processors.pop(0))
    return system.processors[-1]


def _all() -> list[Fault]:
    services: dict[str, Callable[[System], Supervised]] = {
        "processor": _processor,
        "API": lambda system: system.api,
        "webhooks": lambda system: system.webhooks,
    }
    proxies: dict[str, Callable[[System], Proxy]] = {
        "Kafka": lambda system: system.to_kafka,
        "Postgres": lambda system: system.to_postgres,
    }
    signals = {"SIGKILL": _killed, "SIGSTOP": _stopped, "SIGTERM": _ended}
    lasting = {"cut": 1.0, "delay": 2.0, "throttle": 2.0, "half-open": FORGOTTEN}
    return [
        *(
            Fault(f"{service} {name}", partial(strike, which), quick=_OFTEN.get((service, name), 0))
            for service, which in services.items()
            for name, strike in signals.items()
        ),
        *(
            Fault(f"{name} {what}", partial(strike, name.lower()), quick=what == "SIGKILL")
            for name in proxies
            for what, strike in {"SIGKILL": _server_killed, "restart": _server_restarted}.items()
        ),
        *(
            Fault(
                f"network to {name} {how}",
                partial(_network, which, how, lasts),
                quick=how in ("cut", "delay"),
                slow=how == "half-open",
            )
            for name, which in proxies.items()
            for how, lasts in lasting.items()
        ),
        Fault("commits of unknown outcome", _commits_in_doubt),
        Fault("sessions of Postgres ended", _sessions_ended, quick=1),
        Fault("no connection to Postgres left", _no_connection_left, quick=1),
        Fault("rebalance storm", _rebalances),
    ]


FAULTS: Final = _all()
