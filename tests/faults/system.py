"""Milepost, whole and supervised, on a Kafka and a Postgres that can be killed and cut off."""

import asyncio
import base64
import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import asyncpg
from pydantic import SecretStr

from faults.outcome import Outcomes, heard
from faults.proxy import Proxy, proxied
from faults.supervised import Supervised, supervised
from milepost.embedded import EmbeddedKafka, EmbeddedPostgres
from milepost.embedded.claims import free_port
from milepost.processor import topics
from milepost.projections.migrate import migrate
from milepost.settings import Settings
from stack import BROKER
from webhooks.receiver import Receiver, receiving

# So few that a test can take all that are left.
CONNECTIONS: Final = 100
_TAIL: Final = 5_000


@dataclass(frozen=True)
class System:
    """The services reach Kafka and Postgres through the proxies, the tests with `direct` do not."""

    direct: Settings
    through: Settings
    kafka: EmbeddedKafka
    postgres: EmbeddedPostgres
    to_kafka: Proxy
    to_postgres: Proxy
    processors: list[Supervised]
    api: Supervised
    webhooks: Supervised
    receiver: Receiver
    outcomes: Outcomes
    logs: Path

    @property
    def services(self) -> list[Supervised]:
        """All of them."""
        return [*self.processors, self.api, self.webhooks]

    def log(self) -> str:
        """The last of what each service logged."""
        return "\n".join(
            f"{log.name}:\n{log.read_text(errors='replace')[-_TAIL:]}"
            for log in sorted(self.logs.glob("*.log"))
        )

    async def look(self) -> asyncpg.Connection:
        """A connection of one's own, for as long as nothing kills Postgres."""
        return await asyncpg.connect(self.direct.dsn)


@asynccontextmanager
async def running(
    name: str, logs: Path, *, data: Path | None = None, durable: bool = False
) -> AsyncIterator[System]:
    """Everything ready, on topics and in a group of this name, until the block ends.

    `logs` is the folder for what the services log, `data` one for Postgres.
    """
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(_open_folder())
        behind = free_port()
        to_kafka = await stack.enter_async_context(proxied(behind))
        kafka = EmbeddedKafka(
            folder / "kafka", port := free_port(), overrides=_listeners(port, behind, to_kafka.port)
        )
        postgres = EmbeddedPostgres(
            data or folder / "postgres",
            durable=durable,
            overrides={"max_connections": str(CONNECTIONS)},
        )
        await asyncio.gather(*map(stack.enter_async_context, (kafka, postgres)))
        to_postgres = await stack.enter_async_context(proxied(postgres.port))
        direct = Settings(
            kafka_bootstrap_servers=kafka.bootstrap_servers,
            database_url=SecretStr(postgres.dsn),
            topic_prefix=f"{name}.",
            consumer_group=name,
            session_timeout_seconds=2,
            api_access="open",
            api_port=(api_port := free_port()),
            api_url=f"http://127.0.0.1:{api_port}",
            webhook_keys=SecretStr(base64.urlsafe_b64encode(os.urandom(32)).decode()),
            webhook_allowed_networks="127.0.0.0/8",
        )
        through = direct.model_copy(
            update={
                "kafka_bootstrap_servers": f"127.0.0.1:{to_kafka.port}",
                "database_url": SecretStr(_at(postgres.dsn, to_postgres.port)),
            }
        )
        await asyncio.gather(
            topics.apply(direct, partitions=4),
            migrate(direct.dsn),
        )
        commands = ("processor", "processor", "api", "webhooks")
        receiver, outcomes, services = await asyncio.gather(
            stack.enter_async_context(receiving()),
            stack.enter_async_context(heard(direct)),
            stack.enter_async_context(supervised(through, logs, *commands)),
        )
        *processors, api, webhooks = services
        yield System(
            direct, through, kafka, postgres, to_kafka, to_postgres, processors, api, webhooks,
            receiver, outcomes, logs,
        )  # fmt: skip


@contextmanager
def _open_folder() -> Iterator[Path]:
    """Not pytest's own: started by root, Postgres runs as another user, who must get through."""
    with tempfile.TemporaryDirectory(prefix="milepost-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def _listeners(port: int, behind: int, proxy: int) -> dict[str, str]:
    """A second listener, which the broker's clients find where the proxy is."""
    controller = free_port()
    protocols = ("PLAINTEXT", "PROXIED", "CONTROLLER")
    return {
        **BROKER,
        "listeners": f"PLAINTEXT://127.0.0.1:{port},PROXIED://127.0.0.1:{behind},"
        f"CONTROLLER://127.0.0.1:{controller}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port},PROXIED://127.0.0.1:{proxy}",
        "listener.security.protocol.map": ",".join(f"{name}:PLAINTEXT" for name in protocols),
        "controller.quorum.voters": f"1@127.0.0.1:{controller}",
    }


def _at(dsn: str, port: int) -> str:
    parts = urlsplit(dsn)
    host = parts.netloc.rpartition(":")[0]
    return parts._replace(netloc=f"{host}:{port}").geturl()
