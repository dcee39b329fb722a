"""Databases of single tests; failed expectations of the specification show their values."""

from collections.abc import AsyncIterator
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import pytest

from milepost.projections.migrate import migrate

pytest.register_assert_rewrite("projections.specification")


@pytest.fixture(scope="module")
async def template(postgres: str) -> AsyncIterator[str]:
    """The name of a migrated database, to be copied."""
    name = f"template_{uuid4().hex[:8]}"
    server = await asyncpg.connect(postgres)
    await server.execute(f"CREATE DATABASE {name}")
    await migrate(_on(postgres, name))
    yield name
    await server.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await server.close()


@pytest.fixture
async def dsn(postgres: str, template: str) -> AsyncIterator[str]:
    """A database of this test's own: rebuilds and months are of a whole database."""
    name = f"{template}_{uuid4().hex[:8]}"
    server = await asyncpg.connect(postgres)
    await server.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    yield _on(postgres, name)
    await server.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await server.close()


def _on(postgres: str, name: str) -> str:
    return urlsplit(postgres)._replace(path=f"/{name}").geturl()
