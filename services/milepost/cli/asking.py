"""One question to the API, by a command."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from milepost.cli import logs
from milepost.client import MilepostClient
from milepost.settings import Settings

T = TypeVar("T")


def asked(question: Callable[[MilepostClient], Coroutine[Any, Any, T]]) -> T:
    """What the API that the settings name answers. Raises what the client raises."""

    async def ask() -> T:
        async with MilepostClient() as api:
            return await question(api)

    logs.configure_for_commands(Settings())
    return asyncio.run(ask())
