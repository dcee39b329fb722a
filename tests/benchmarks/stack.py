"""The broker and the database that are measured, durable as in production, and a fresh Milepost on them."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import psutil

from milepost.embedded import EmbeddedKafka, EmbeddedPostgres
from milepost.processor import topics
from milepost.projections.migrate import migrate
from milepost.settings import Settings
from stack import environment

PARTITIONS = 4
# Workers that start together share the partitions from the beginning.
TOGETHER = {"group.initial.rebalance.delay.ms": "2000"}


@dataclass(frozen=True)
class Stack:
    """Where Kafka and Postgres are, and a folder for what programs leave behind."""

    kafka: str
    postgres: str
    folder: Path

    async def fresh(self, partitions: int = PARTITIONS) -> Settings:
        """Settings of an empty Milepost: a database and topics of its own."""
        settings = await self._empty(topic_prefix=None)
        await topics.apply(settings, partitions=partitions)
        return settings

    async def beside(self, other: Settings) -> Settings:
        """The topics of another Milepost, an empty database and another group."""
        return await self._empty(topic_prefix=other.topic_prefix)

    async def drop(self, settings: Settings) -> None:
        """Give back what a database holds."""
        connection = await asyncpg.connect(self.postgres)
        await connection.execute(f"DROP DATABASE {settings.consumer_group} WITH (FORCE)")
        await connection.close()

    async def _empty(self, topic_prefix: str | None) -> Settings:
        name = f"bench_{uuid4().hex[:8]}"
        connection = await asyncpg.connect(self.postgres)
        await connection.execute(f"CREATE DATABASE {name}")
        await connection.close()
        database = urlsplit(self.postgres)._replace(path=f"/{name}").geturl()
        with redirect_stdout(StringIO()):  # each migration, by name
            await migrate(database)
        return Settings(
            kafka_bootstrap_servers=self.kafka,
            database_url=database,
            topic_prefix=topic_prefix or f"{name}.",
            consumer_group=name,
            api_port=0,
            api_access="open",
            log_level="warning",
        )


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Stack]:
    """A durable embedded stack in `folder`."""
    async with (
        EmbeddedKafka(folder / "kafka", overrides=TOGETHER) as kafka,
        EmbeddedPostgres(folder / "postgres") as postgres,
    ):
        yield Stack(kafka.bootstrap_servers, postgres.dsn, folder)


@dataclass(frozen=True)
class Running:
    """A process that is ready, and what it said then."""

    process: psutil.Process
    ready: dict[str, Any]

    @property
    def cpu(self) -> float:
        """Seconds of CPU that it has used."""
        user, system, *_ = self.process.cpu_times()
        return user + system


@asynccontextmanager
async def service(
    settings: Settings, command: str, module: str = "milepost.cli"
) -> AsyncIterator[Running]:
    """A process of Milepost that is ready; `module` is run with the command."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, command,
        env=os.environ | environment(settings), stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        line = await process.stdout.readline()
        assert line, f"milepost {command} ended without being ready"
        yield Running(psutil.Process(process.pid), json.loads(line))
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


def processor(
    settings: Settings, module: str = "milepost.cli"
) -> AbstractAsyncContextManager[Running]:
    """A processor process that owns its partitions."""
    return service(settings, "processor", module)
