"""A whole Milepost on this machine: Kafka, Postgres and the services, supervised."""

import asyncio
import errno
import json
import os
import random
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from milepost.cli.failures import Unable
from milepost.cli.supervisor import Part, Say, keep_running
from milepost.cli.worker import Worker
from milepost.settings import Settings

DATABASE: Final = "milepost"
# In the order of their end: the API stops what comes in, and completions still go out.
_SERVICES: Final = {
    "api": "the API",
    "processor": "the processor",
    "webhooks": "the webhook worker",
}
# For development: endpoints on this machine may be called.
_LOOPBACK: Final = "127.0.0.0/8,::1/128"
# On one machine a processor that was killed need not be waited for as long as over a network.
_SESSION_SECONDS: Final = 3


class Configured(Settings):
    """The settings of the environment alone.

    A stack file that a killed `up` left behind must not pass for servers to use.
    """

    model_config = SettingsConfigDict(title=Settings.__name__)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then the environment."""
        return init_settings, env_settings


@dataclass(frozen=True)
class Endpoints:
    """Where a running stack is: the API's URL, Kafka's bootstrap servers, the database's URL; and an
    admin's token for the API, None where access is open."""

    api: str
    kafka: str
    database: str = field(repr=False)
    token: str | None = field(repr=False)

    def json(self) -> str:
        """One line, the shape of `stack.json`."""
        return json.dumps({name: value for name, value in asdict(self).items() if value})


@dataclass(frozen=True)
class Plan:
    """What to run: `lock` is the descriptor of the lock on `folder`, `durable` as in Postgres."""

    configured: Configured
    folder: Path
    lock: int
    partitions: int
    api_port: int
    durable: bool = True


@asynccontextmanager
async def running(plan: Plan, say: Say) -> AsyncIterator[Endpoints]:
    """Everything started, and kept running until the block ends; then nothing is left.

    `say` gets a line per step. Raises Unable, EmbeddedError and the errors of the parts, several at
    once as a group.
    """
    stack = _Stack(plan, say)
    try:
        endpoints = await stack.start()
        keepers = [asyncio.create_task(keep_running(part, say)) for part in stack.parts]
        try:
            yield endpoints
        finally:
            for keeper in keepers:
                keeper.cancel()
            await asyncio.wait(keepers)
    finally:
        await stack.stop()


class _Stack:
    def __init__(self, plan: Plan, say: Say) -> None:
        self._plan = plan
        self._say = say
        # In the order of their end: who uses another ends before it.
        self._order: dict[str, Part] = {}

    @property
    def parts(self) -> list[Part]:
        return list(self._order.values())

    async def start(self) -> Endpoints:
        async with asyncio.TaskGroup() as group:
            kafka = group.create_task(self._kafka())
            database = group.create_task(self._database())
        token = await self._token(database.result())
        environment = self._environment(kafka.result(), database.result())
        workers = {
            command: Worker(
                command,
                name,
                environment | self._ports(command),
                self._plan.folder,
                self._plan.lock,
            )
            for command, name in _SERVICES.items()
        }
        self._order = {**workers, **self._order}
        self._say("starting the processor, the API and the webhook worker")
        async with asyncio.TaskGroup() as group:
            for worker in workers.values():
                group.create_task(worker.start())
        return Endpoints(workers["api"].ready["api"], kafka.result(), database.result(), token)

    async def stop(self) -> None:
        for name in (*_SERVICES, "kafka", "postgres"):
            if part := self._order.get(name):
                await part.stop()

    async def _kafka(self) -> str:
        from milepost.processor import topics

        configured = self._plan.configured
        if "kafka_bootstrap_servers" in configured.model_fields_set:
            servers = configured.kafka_bootstrap_servers
            self._say(f"using Kafka at {servers}")
        else:
            from milepost.embedded import EmbeddedKafka

            self._say("starting Kafka")
            kafka = EmbeddedKafka(self._plan.folder / "kafka", progress=self._say)
            self._order["kafka"] = kafka
            await kafka.start()
            servers = kafka.bootstrap_servers
        reached = configured.model_copy(update={"kafka_bootstrap_servers": servers})
        await topics.apply(reached, partitions=self._plan.partitions)
        return servers

    async def _database(self) -> str:
        from milepost.projections.migrate import migrate

        configured = self._plan.configured
        if "database_url" in configured.model_fields_set:
            dsn = configured.dsn
            self._say("using the Postgres of MILEPOST_DATABASE_URL")
        else:
            from milepost.embedded import EmbeddedPostgres

            self._say("starting Postgres")
            postgres = EmbeddedPostgres(
                self._plan.folder / "postgres", durable=self._plan.durable, progress=self._say
            )
            self._order["postgres"] = postgres
            await postgres.start()
            dsn = await _own_database(postgres.dsn)
        await migrate(dsn)
        return dsn

    async def _token(self, database: str) -> str | None:
        from milepost.api.keys import bootstrap

        if self._plan.configured.api_access == "open":
            return None
        # The former one of this folder is revoked with it.
        token = await bootstrap(database, f"milepost up in {self._plan.folder}")
        return token.get_secret_value()

    def _environment(self, kafka: str, database: str) -> dict[str, str]:
        return {
            "MILEPOST_SESSION_TIMEOUT_SECONDS": str(_SESSION_SECONDS),
            "MILEPOST_WEBHOOK_ALLOWED_NETWORKS": _LOOPBACK,
            **{name: value for name, value in os.environ.items() if name.startswith("MILEPOST_")},
            "MILEPOST_KAFKA_BOOTSTRAP_SERVERS": kafka,
            "MILEPOST_DATABASE_URL": database,
            "MILEPOST_API_PORT": str(self._plan.api_port),
            "MILEPOST_WEBHOOK_KEYS": self._webhook_keys(),
        }

    def _ports(self, command: str) -> dict[str, str]:
        """Where it is not alone on a machine, the webhook worker has the port behind the processor's."""
        port = self._plan.configured.metrics_port
        if not port or command != "webhooks":
            return {}
        return {"MILEPOST_METRICS_PORT": str(port + 1)}

    def _webhook_keys(self) -> str:
        """Those of the settings, else one that is made once and kept in the folder for its owner."""
        from cryptography.fernet import Fernet

        if keys := self._plan.configured.sealing_keys:
            return ",".join(keys)
        path, fresh = self._plan.folder / "webhook.keys", self._plan.folder / "webhook.keys.new"
        if not path.exists():
            fresh.unlink(missing_ok=True)
            with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(Fernet.generate_key())
            fresh.replace(path)
        return path.read_text()


def require_free(host: str, port: int) -> None:
    """Raise Unable when nobody may listen on `port` of `host`."""
    try:
        _listen(host, port)
    except (OSError, UnicodeError) as error:
        taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        raise Unable(
            f"the API needs port {port} on {host}, "
            + ("which is taken. Stop what listens there" if taken else f"but cannot: {error}")
            + f". Another port: milepost up --api-port {port + 1 if port < 65_535 else 8080}"
        ) from None


def free_port(host: str) -> int:
    """A port that is free on `host` now.

    Below every system's ephemeral range, so that no outgoing connection takes it while the API is
    being started again.
    """
    for port in random.sample(range(15_000, 32_000), 200):
        with suppress(OSError):
            _listen(host, port)
            return port
    raise Unable(f"no free port on {host}")


def _listen(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    socket.create_server((host, port), family=family).close()


async def _own_database(maintenance_dsn: str) -> str:
    """The database of ours in an embedded server, made when it is missing."""
    import asyncpg

    connection = await asyncpg.connect(maintenance_dsn)
    try:
        known = await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", DATABASE)
        if not known:
            await connection.execute(f"CREATE DATABASE {DATABASE}")
    finally:
        await connection.close()
    return urlsplit(maintenance_dsn)._replace(path=f"/{DATABASE}").geturl()
