"""A running API per module, on this module's database and topics."""

from collections.abc import AsyncIterator

import pytest

from api.harness import Api, running_api
from milepost.settings import Settings


@pytest.fixture(scope="module")
async def api(settings: Settings) -> AsyncIterator[Api]:
    """The API over real HTTP; what it answers comes from the real store."""
    async with running_api(settings) as api:
        yield api
