"""Running the webhooks: one line when ready, an end in bounded time."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, Final

import asyncpg
import orjson

from milepost import tracing
from milepost.monitoring import Checks, listening
from milepost.projections import webhooks
from milepost.projections.listening import listen
from milepost.projections.webhooks import CHANNEL, Pool
from milepost.sealing import CannotSeal, Seal
from milepost.settings import Settings
from milepost.webhooks import metrics, standing
from milepost.webhooks.calls import Caller, Limits
from milepost.webhooks.intake import Intake
from milepost.webhooks.sender import CALLS, PER_TENANT, Sender

_CLOSE_SECONDS: Final = 1.0
# To take, to take in, and to write how calls went, which come back a few at a time.
_CONNECTIONS: Final = 10


class CannotServe(Exception):
    """The webhooks cannot start; the text says why and what to do."""


async def serve(settings: Settings, ready: Callable[[str], Any] = print) -> None:
    """Send completions to the endpoints of tenants until SIGTERM or SIGINT.

    Tells `ready` one JSON line when it reads completions and sends. Raises CannotServe where the
    settings or the database's schema do not allow it, MilepostError or asyncpg's errors where the
    broker or the database is not there at the start; one that goes away later is waited for.
    """
    try:
        seal = Seal(settings)
    except CannotSeal as error:
        raise CannotServe(str(error)) from None
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    # A tenant whose endpoints are all at one host must not wait for itself there, and fail.
    limits = Limits(calls=CALLS, per_host=PER_TENANT)
    tracing.configure("milepost-webhooks")
    checks = Checks("broker", "database")
    async with (
        listening(settings, metrics.REGISTRY, checks),
        _connected(settings.dsn) as pool,
        Caller(settings.webhook_allowed_networks, limits) as caller,
    ):
        sender = Sender(pool, caller, seal)
        intake = Intake(settings, pool, sender.wake, checks)
        announce = partial(ready, orjson.dumps({"webhooks": "ready"}).decode())
        connect = partial(webhooks.listen, settings.dsn)
        sending, *others = (
            asyncio.create_task(part)
            for part in (
                sender.run(),
                intake.run(announce),
                listen(connect, CHANNEL, sender.wake),
                standing.watch(pool, checks),
                stop.wait(),
            )
        )
        try:
            ended, _ = await asyncio.wait((sending, *others), return_when=asyncio.FIRST_COMPLETED)
        finally:
            sender.end()
            for task in others:
                task.cancel()
            await asyncio.wait((sending, *others))
        for task in ended:
            task.result()


@asynccontextmanager
async def _connected(dsn: str) -> AsyncIterator[Pool]:
    pool = await webhooks.connect(dsn, size=_CONNECTIONS)
    try:
        try:
            await webhooks.next_due(pool)
        except asyncpg.exceptions.SyntaxOrAccessError as error:
            raise CannotServe(
                f"the database has not the schema of this version ({error}). Run: milepost db migrate"
            ) from None
        yield pool
    finally:
        with suppress(TimeoutError):
            # When time is up, asyncpg terminates what is still in use.
            await asyncio.wait_for(pool.close(), _CLOSE_SECONDS)
