"""Services that start, end within seconds, and leave nothing behind: no task, thread, file, session.

In this process, so that what stays can be seen; `MILEPOST_TEST_LIVES` is how often each starts.
"""

import asyncio
import base64
import gc
import io
import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import redirect_stdout
from typing import Any

import asyncpg
import psutil
import pytest
from pydantic import SecretStr

from milepost.api import serve as serve_api
from milepost.processor.app import serve as serve_processor
from milepost.settings import Settings
from milepost.webhooks import serve as serve_webhooks
from signals import DEADLINE

LIVES = int(os.environ.get("MILEPOST_TEST_LIVES", "20"))
STOP = 5.0  # seconds
Serve = Callable[[Settings, Callable[[str], Any]], Coroutine[Any, Any, None]]


class _Said(io.StringIO):
    """Standard output: whoever writes JSON to it is ready."""

    def __init__(self, ready: Callable[[str], Any]) -> None:
        super().__init__()
        self._ready = ready

    def write(self, text: str) -> int:
        if text.startswith("{"):
            self._ready(text)
        return len(text)


async def _api(settings: Settings, ready: Callable[[str], Any]) -> None:
    with redirect_stdout(_Said(ready)):
        await serve_api(settings)


@pytest.fixture
def collector() -> Iterator[None]:
    """The processor sets the garbage collector for itself."""
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


@pytest.fixture
async def look(settings: Settings) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(settings.dsn)
    yield connection
    await connection.close()


@pytest.mark.parametrize(
    ("serve", "lives"),
    # One life of a processor takes as long as several of the others.
    [(serve_processor, LIVES // 4), (_api, LIVES), (serve_webhooks, LIVES)],
    ids=["processor", "api", "webhooks"],
)
async def test_it_leaves_nothing_behind(
    serve: Serve,
    lives: int,
    settings: Settings,
    look: asyncpg.Connection,
    collector: None,
) -> None:
    keys = SecretStr(base64.urlsafe_b64encode(os.urandom(32)).decode())
    settings = settings.model_copy(update={"webhook_keys": keys})
    await _live(serve, settings)  # what is made once and stays
    before = _held()
    for _ in range(lives - 1):
        await _live(serve, settings)
        async with asyncio.timeout(STOP):
            while await look.fetchval(
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE application_name LIKE 'milepost-%' AND datname = current_database()"
            ):
                pass  # Postgres hears of it a moment later
    assert _held() == before


async def _live(serve: Serve, settings: Settings) -> None:
    ready = asyncio.Event()
    mine = asyncio.all_tasks()
    service = asyncio.create_task(serve(settings, lambda _: ready.set()))
    started = asyncio.create_task(ready.wait())
    await asyncio.wait((service, started), timeout=DEADLINE, return_when=asyncio.FIRST_COMPLETED)
    assert ready.is_set(), service
    began = time.monotonic()
    os.kill(os.getpid(), signal.SIGTERM)
    await service
    assert time.monotonic() - began < STOP
    assert asyncio.all_tasks() == mine


def _held() -> tuple[set[str], int]:
    gc.collect()
    return {thread.name for thread in threading.enumerate()}, psutil.Process().num_fds()
