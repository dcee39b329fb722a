"""Fixtures: one Kafka and one Postgres per session, a database and topics per module.

Nothing starts before a test asks for it. See `stack.py` for which Kafka and Postgres these are.
"""

import os
from collections.abc import AsyncIterator, Generator, Iterator
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import pytest

from faults import ambiguous
from milepost.settings import Settings
from stack import Services, running_kafka, running_postgres, variant

StartService = Services
if ambiguous.VARIABLE in os.environ:
    ambiguous.install()


@pytest.fixture(scope="session")
def kafka() -> Iterator[str]:
    """The broker: its bootstrap servers."""
    with running_kafka(variant()) as servers:
        yield servers


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The database server: the DSN of its maintenance database."""
    with running_postgres(variant()) as dsn:
        yield dsn


@pytest.fixture(scope="module")
async def empty_database(postgres: str) -> AsyncIterator[str]:
    """A database of this module's own with nothing in it: its DSN."""
    name = f"test_{uuid4().hex[:12]}"
    connection = await asyncpg.connect(postgres)
    try:
        await connection.execute(f"CREATE DATABASE {name}")
        yield urlsplit(postgres)._replace(path=f"/{name}").geturl()
        await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await connection.close()


@pytest.fixture(scope="module")
async def database(empty_database: str) -> str:
    """This module's database with Milepost's schema: its DSN."""
    from milepost.projections.migrate import migrate

    await migrate(empty_database)
    return empty_database


@pytest.fixture(scope="module")
async def broker_settings(kafka: str) -> Settings:
    """Settings with topics and a consumer group of this module's own, for tests without Postgres."""
    from milepost.processor.topics import apply

    name = f"test-{uuid4().hex[:12]}"
    settings = Settings(
        kafka_bootstrap_servers=kafka,
        topic_prefix=f"{name}.",
        consumer_group=name,
        session_timeout_seconds=2,
        api_port=0,
        # Access has its own tests.
        api_access="open",
        log_level="debug",
    )
    await apply(settings, partitions=4)
    return settings


@pytest.fixture(scope="module")
def settings(broker_settings: Settings, database: str) -> Settings:
    """Settings with a database, topics and a consumer group of this module's own."""
    return Settings(**{**dict(broker_settings), "database_url": database})


@pytest.fixture(scope="module")
async def service(
    settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Services]:
    """Starts `python -m milepost.cli <command...>` on this module's stack, ready when returned.

    `await service("processor", settings=...)` gives a `stack.Service`; what still runs at the end
    of the module is stopped, and a failing test shows the logs.
    """
    services = Services(settings, tmp_path_factory.mktemp("services"))
    yield services
    await services.stop()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the services of a failed test logged."""
    report = yield
    arguments: dict[str, Any] = getattr(item, "funcargs", {})
    if report.failed and "service" in arguments:
        for one in arguments["service"].started:
            report.sections.append((f"log of {one}", one.tail()))
    return report
