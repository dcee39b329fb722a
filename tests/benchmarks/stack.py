"""The broker and the database that are measured, durable as in production, and a fresh Milepost on them."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg

from milepost.embedded import EmbeddedKafka, EmbeddedPostgres
from milepost.processor import topics
from milepost.projections.migrate import migrate
from milepost.settings import Settings

PARTITIONS = 4


@dataclass(frozen=True)
class Stack:
    """Where Kafka and Postgres are."""

    kafka: str
    postgres: str

    async def fresh(self) -> Settings:
        """Settings of an empty Milepost: a database and topics of its own."""
        name = f"bench_{uuid4().hex[:8]}"
        connection = await asyncpg.connect(self.postgres)
        await connection.execute(f"CREATE DATABASE {name}")
        await connection.close()
        settings = Settings(
            kafka_bootstrap_servers=self.kafka,
            database_url=urlsplit(self.postgres)._replace(path=f"/{name}").geturl(),
            topic_prefix=f"{name}.",
            consumer_group=name,
            log_level="warning",
        )
        await migrate(settings.dsn)
        await topics.apply(self.kafka, settings.topics, partitions=PARTITIONS)
        return settings


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Stack]:
    """A durable embedded stack in `folder`."""
    async with (
        EmbeddedKafka(folder / "kafka") as kafka,
        EmbeddedPostgres(folder / "postgres") as postgres,
    ):
        yield Stack(kafka.bootstrap_servers, postgres.dsn)


def environment(settings: Settings) -> dict[str, str]:
    """The variables that make a process work on this Milepost."""
    return {
        "MILEPOST_KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers,
        "MILEPOST_DATABASE_URL": settings.dsn,
        "MILEPOST_TOPIC_PREFIX": settings.topic_prefix,
        "MILEPOST_CONSUMER_GROUP": settings.consumer_group,
        "MILEPOST_LOG_LEVEL": settings.log_level,
    }


@asynccontextmanager
async def processor(
    settings: Settings, module: str = "milepost.cli"
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A processor process that owns its partitions; `module` is run with the command."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, "processor",
        env=os.environ | environment(settings), stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        await process.stdout.readline()
        yield process
    finally:
        process.terminate()
        await process.wait()
