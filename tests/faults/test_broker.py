"""Nothing lost, nothing twice: a broker and a database killed under load and started again."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from pydantic import SecretStr

from milepost.embedded import EmbeddedKafka, EmbeddedPostgres
from milepost.processor import topics
from milepost.projections.migrate import migrate
from milepost.settings import Settings
from processor.history import send
from processor.oracle import Load, nothing_lost_nothing_twice
from signals import following
from stack import BROKER, Service, variant

pytestmark = pytest.mark.skipif(
    variant() != "embedded", reason="only a broker and a database of our own can be killed"
)


@pytest.fixture
async def kafka(tmp_path: Path) -> AsyncIterator[EmbeddedKafka]:
    async with EmbeddedKafka(tmp_path / "kafka", overrides=BROKER) as broker:
        yield broker


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Not pytest's own: started by root, Postgres runs as another user, who must get through."""
    with tempfile.TemporaryDirectory(prefix="milepost-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture
async def postgres(open_folder: Path) -> AsyncIterator[EmbeddedPostgres]:
    async with EmbeddedPostgres(open_folder / "data") as server:
        yield server


class Supervised:
    """A processor that is started anew whenever it ends, as its supervisor would."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.restarts = 0
        self._settings = settings
        self._folder = folder

    async def run(self) -> None:
        """Until cancelled; then it must end in order."""
        while True:
            try:
                worker = await Service.start(self._settings, self._folder, "processor")
            except AssertionError:  # not ready: what it needs is away
                self.restarts += 1
                continue
            try:
                assert await worker.wait() != 0
                self.restarts += 1
            finally:
                if worker.exit_status is None:
                    assert await worker.stop() == 0


@pytest.mark.parametrize("which", ["broker", "database"])
async def test_killed_under_load(
    which: str, kafka: EmbeddedKafka, postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    name = uuid4().hex[:8]
    settings = Settings(
        kafka_bootstrap_servers=kafka.bootstrap_servers,
        database_url=SecretStr(postgres.dsn),
        topic_prefix=f"{name}.",
        consumer_group=name,
        session_timeout_seconds=2,
        log_level="debug",
    )
    await topics.apply(settings.kafka_bootstrap_servers, settings.topics, partitions=4)
    await migrate(settings.dsn)
    load = Load(1_000)
    await send(settings, load.records)
    running = asyncio.create_task(Supervised(settings, tmp_path).run())
    async with following(settings) as positions:
        await positions.reach(load.count // 10)
    victim = kafka if which == "broker" else postgres
    await victim.kill()
    await victim.start()
    async with following(settings) as positions:
        await positions.reach_end()
    await nothing_lost_nothing_twice(settings, load)
    running.cancel()
    await asyncio.wait([running])
    assert running.cancelled()
