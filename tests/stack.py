"""The Kafka and the Postgres that a test session runs against, and subprocesses of Milepost on them.

`MILEPOST_TEST_STACK` chooses: `embedded`, `testcontainers` or `external` (the latter reads
`MILEPOST_KAFKA_BOOTSTRAP_SERVERS` and `MILEPOST_DATABASE_URL`). Without it, testcontainers where a
Docker daemon answers, else embedded.
"""

import asyncio
import gc
import json
import os
import socket
import sys
import tempfile
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final, Self, TypeVar
from uuid import uuid4

from anyio.from_thread import start_blocking_portal
from pydantic import SecretStr

from faults import ambiguous
from milepost.embedded import EmbeddedKafka, EmbeddedPostgres
from milepost.settings import Settings

T = TypeVar("T")

# A killed worker's place is free after its session, so the tests need short sessions.
BROKER: Final = {"group.min.session.timeout.ms": "1000", "group.initial.rebalance.delay.ms": "0"}
KAFKA_IMAGE: Final = "apache/kafka:4.3.1"
POSTGRES_IMAGE: Final = "postgres:18"
_START_SECONDS: Final = 120
_READY_SECONDS: Final = 30
_STOP_SECONDS: Final = 20
_LOG_TAIL: Final = 20_000


@cache
def docker_problem() -> str | None:
    """Why no Docker daemon answers; None where one does."""
    from docker.errors import DockerException  # type: ignore[import-untyped]
    from testcontainers.core.docker_client import DockerClient

    problem = None
    with warnings.catch_warnings():
        # The docker package leaves its socket to the garbage collector where nobody answers.
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            client = DockerClient().client
            client.ping()
            client.close()
        except (DockerException, OSError) as error:
            problem = f"no Docker daemon answers: {error}"
        gc.collect()
    return problem


def variant() -> str:
    """Which stack this session runs on."""
    chosen = os.environ.get("MILEPOST_TEST_STACK")
    if chosen not in (None, "embedded", "testcontainers", "external"):
        raise ValueError(
            f"MILEPOST_TEST_STACK is {chosen!r}; it must be embedded, testcontainers or external"
        )
    return chosen or ("embedded" if docker_problem() else "testcontainers")


@contextmanager
def running_kafka(kind: str) -> Iterator[str]:
    """A broker of this kind, started; gives its bootstrap servers."""
    match kind:
        case "external":
            yield os.environ["MILEPOST_KAFKA_BOOTSTRAP_SERVERS"]
        case "testcontainers":
            with kafka_container() as servers:
                yield servers
        case _:
            with _folder("kafka") as folder, start_blocking_portal() as portal:
                kafka = EmbeddedKafka(folder, overrides=BROKER)
                with portal.wrap_async_context_manager(kafka):
                    yield kafka.bootstrap_servers


@contextmanager
def running_postgres(kind: str) -> Iterator[str]:
    """A server of this kind, started; gives the DSN of its maintenance database."""
    match kind:
        case "external":
            yield os.environ["MILEPOST_DATABASE_URL"]
        case "testcontainers":
            with postgres_container() as dsn:
                yield dsn
        case _:
            with _folder("postgres") as folder, start_blocking_portal() as portal:
                # What a test has written need not survive a power cut.
                postgres = EmbeddedPostgres(folder, durable=False)
                with portal.wrap_async_context_manager(postgres):
                    yield postgres.dsn


@contextmanager
def kafka_container() -> Iterator[str]:
    """Apache Kafka in a container; gives its bootstrap servers."""
    from testcontainers.core.container import DockerContainer
    from testcontainers.core.wait_strategies import LogMessageWaitStrategy

    # The broker tells its clients where it listens, so the port must be known before it starts.
    port = _free_port()
    ready = LogMessageWaitStrategy("Kafka Server started").with_startup_timeout(_START_SECONDS)
    container = DockerContainer(KAFKA_IMAGE, _wait_strategy=ready).with_bind_ports(9092, port)
    servers = f"{container.get_docker_client().host()}:{port}"
    # Any of these replaces the image's whole default configuration.
    properties = {
        "node.id": "1",
        "process.roles": "broker,controller",
        "listeners": "PLAINTEXT://0.0.0.0:9092,CONTROLLER://0.0.0.0:9093",
        "advertised.listeners": f"PLAINTEXT://{servers}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "controller.listener.names": "CONTROLLER",
        "controller.quorum.voters": "1@localhost:9093",
        "offsets.topic.replication.factor": "1",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "auto.create.topics.enable": "false",
        **BROKER,
    }
    for name, value in properties.items():
        container.with_env(f"KAFKA_{name.upper().replace('.', '_')}", value)
    with container:
        yield servers


@contextmanager
def postgres_container() -> Iterator[str]:
    """Postgres in a container; gives the DSN of its maintenance database."""
    from testcontainers.community.postgres import PostgresContainer

    server = PostgresContainer(POSTGRES_IMAGE, username="postgres", dbname="postgres", driver=None)
    with server.with_command("postgres -c fsync=off -c max_connections=200"):
        yield server.get_connection_url()


class Service:
    """One `python -m milepost.cli ...` as a process of its own.

    Made by the `service` fixture. `ready` is the JSON object that the service printed on standard
    output when it was ready; `log` is the file with its standard error.
    """

    def __init__(self, command: tuple[str, ...], process: asyncio.subprocess.Process, log: Path):
        self.command = command
        self.log = log
        self.ready: dict[str, Any] = {}
        self._process = process

    @classmethod
    async def start(cls, settings: Settings, folder: Path, *command: str) -> Self:
        """Start it with `settings` as its environment; return when it says that it is ready."""
        log = folder / f"{command[0]}-{uuid4().hex[:8]}.log"
        with log.open("wb") as errors:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", _entry(), *command,
                env=os.environ | environment(settings) | {"PYTHONPATH": str(Path(__file__).parent)},
                cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=errors,
            )  # fmt: skip
        service = cls(command, process, log)
        try:
            async with asyncio.timeout(_READY_SECONDS):
                service.ready = await service._ready_line()
        except BaseException as error:
            await service.kill()
            if isinstance(error, asyncio.CancelledError):
                raise  # a supervisor who is to end would start it anew
            raise AssertionError(f"{service} did not become ready\n{service.tail()}") from error
        return service

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def exit_status(self) -> int | None:
        """The exit status (negative: by that signal), None while it runs."""
        return self._process.returncode

    async def wait(self) -> int:
        """Wait until it ends of itself; return the exit status."""
        return await self._process.wait()

    async def stop(self) -> int:
        """SIGTERM; return the exit status. Fails when it does not end in time."""
        if self.exit_status is None:
            self._process.terminate()
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                return await self._process.wait()
        except TimeoutError:
            await self.kill()
            raise AssertionError(f"{self} ignored SIGTERM\n{self.tail()}") from None

    async def kill(self) -> int:
        """SIGKILL; return the exit status."""
        if self.exit_status is None:
            self._process.kill()
        return await self._process.wait()

    def tail(self) -> str:
        """The last part of its log."""
        return self.log.read_text(errors="replace")[-_LOG_TAIL:]

    def __str__(self) -> str:
        return f"milepost {' '.join(self.command)} (pid {self.pid}, status {self.exit_status})"

    async def _ready_line(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        ready: dict[str, Any] = json.loads(line)
        return ready


class Services:
    """Starts services: `await service("processor")` gives a `Service` that is ready."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.started: list[Service] = []
        self._settings = settings
        self._folder = folder

    async def __call__(self, *command: str, settings: Settings | None = None) -> Service:
        service = await Service.start(settings or self._settings, self._folder, *command)
        self.started.append(service)
        return service

    async def stop(self) -> None:
        """Stop what still runs."""
        for service in self.started:
            if service.exit_status is None:
                await service.stop()


def _entry() -> str:
    return ambiguous.__name__ if ambiguous.VARIABLE in os.environ else "milepost.cli"


def environment(settings: Settings) -> dict[str, str]:
    """The environment variables that make another process read these settings."""
    values = {}
    for name, value in settings:
        match value:
            case None:
                continue
            case SecretStr():
                text = value.get_secret_value()
            case tuple():
                text = ",".join(map(str, value))
            case _:
                text = str(value)
        values[f"MILEPOST_{name.upper()}"] = text
    return values


async def first(
    items: AsyncIterator[T], matching: Callable[[T], bool] = lambda item: True, within: float = 15
) -> T:
    """The first of `items` that matches. Raises TimeoutError after `within` seconds."""
    async with asyncio.timeout(within):
        async for item in items:
            if matching(item):
                return item
    raise AssertionError("the items ended, and none matched")


@contextmanager
def _folder(name: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(
        prefix=f"milepost-{name}-", ignore_cleanup_errors=True
    ) as path:
        # Started by root, Postgres runs as another user, who must get through.
        Path(path).chmod(0o755)
        yield Path(path) / "data"


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port
