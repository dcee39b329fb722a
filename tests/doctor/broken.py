"""A stack with every mistake that can be made by hand, all at once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from milepost.processor import topics
from milepost.projections.migrate import migrate
from milepost.settings import Settings
from processor.history import execution, send
from signals import DEADLINE

SPOILT_SQL = (Path(__file__).parent / "spoilt.sql").read_text()


@asynccontextmanager
async def spoilt(kafka: str, postgres: str, keys: Path) -> AsyncIterator[Settings]:
    """Its settings; nothing serves it. `keys` is the file of the issuer's."""
    name = f"spoilt-{uuid4().hex[:12]}"
    database = name.replace("-", "_")
    settings = Settings(
        kafka_bootstrap_servers=kafka,
        topic_prefix=f"{name}.",
        consumer_group=name,
        database_url=urlsplit(postgres)._replace(path=f"/{database}").geturl(),
        api_url="http://127.0.0.1:1",
        jwt_issuer="https://issuer.example",
        jwt_audience="milepost",
        jwt_jwks=str(keys),
    )
    server = await asyncpg.connect(postgres)
    try:
        await server.execute(f"CREATE DATABASE {database}")
        await _spoil_topics(settings)
        await migrate(settings.dsn)
        connection = await asyncpg.connect(settings.dsn)
        await connection.execute(f"ALTER DATABASE {database} SET synchronous_commit = off")
        await connection.execute(SPOILT_SQL.replace(":events", f"'{settings.topics.events}'"))
        # From here on it is only looked at.
        await connection.execute(
            f"ALTER DATABASE {database} SET default_transaction_read_only = on"
        )
        await connection.close()
        yield settings
        await server.execute(f"DROP DATABASE {database} WITH (FORCE)")
    finally:
        await server.close()


async def _spoil_topics(settings: Settings) -> None:
    names = settings.topics
    await topics.apply(settings, partitions=2)
    await send(settings, execution("acme", "one")[:3], partition=1)
    async with topics.connected(settings) as admin:
        await admin.delete_topics([names.quarantine])
        spoilt = {**dict(names.declared()[1].config()), "retention.ms": "60000"}
        spoilt["message.timestamp.type"] = "CreateTime"
        await admin.alter_configs(
            [ConfigResource(ConfigResourceType.TOPIC, names.commands, spoilt)]
        )
        async with asyncio.timeout(DEADLINE):
            # It is gone some time after the answer.
            while names.quarantine in await admin.list_topics():
                pass
