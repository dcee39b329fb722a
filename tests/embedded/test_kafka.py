"""The embedded Kafka: real brokers."""

import asyncio
import os
import shutil
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from milepost.embedded import EmbeddedError, EmbeddedKafka, claims, jars
from milepost.embedded.kafka import default_cache

TOPIC = "facts"
ANSWER_S = 20.0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kafka(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EmbeddedKafka]:
    async with EmbeddedKafka(tmp_path_factory.mktemp("kafka")) as broker:
        admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap_servers)
        await admin.start()
        await admin.create_topics([NewTopic(TOPIC, num_partitions=1, replication_factor=1)])
        await admin.close()
        yield broker


async def send(broker: EmbeddedKafka, value: bytes) -> None:
    async with (
        AIOKafkaProducer(
            bootstrap_servers=broker.bootstrap_servers, transactional_id="test"
        ) as producer,
        producer.transaction(),
    ):
        await producer.send_and_wait(TOPIC, value, timestamp_ms=1)


async def newest(broker: EmbeddedKafka, count: int) -> list[bytes]:
    """All values in the topic, once there are `count` of them."""
    values: list[bytes] = []
    async with (
        asyncio.timeout(ANSWER_S),
        AIOKafkaConsumer(
            TOPIC,
            bootstrap_servers=broker.bootstrap_servers,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
        ) as consumer,
    ):
        while len(values) < count:
            record = await consumer.getone()
            assert record.timestamp_type == 1, "the broker's append time"
            assert record.timestamp > 1
            values.append(record.value)
    return values


async def test_answers_and_keeps_its_data_over_stop_and_kill(kafka: EmbeddedKafka) -> None:
    servers = kafka.bootstrap_servers
    await send(kafka, b"first")
    await kafka.restart()
    assert kafka.bootstrap_servers == servers
    await send(kafka, b"second")

    died = asyncio.create_task(kafka.wait_died())
    await kafka.kill()
    assert await died == 128 + 9
    assert not kafka.running
    await kafka.start()
    assert kafka.bootstrap_servers == servers
    assert await newest(kafka, 2) == [b"first", b"second"]
    assert "Kafka Server started" in kafka.log_file.read_text()


async def test_a_second_broker_in_the_same_folder_is_refused(
    kafka: EmbeddedKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "_HOLD_TIMEOUT_S", 0.1)
    with pytest.raises(EmbeddedError, match=f"{kafka.data} is in use by another Milepost"):
        await EmbeddedKafka(kafka.data).start()


async def test_a_taken_port_is_named_with_its_holder(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        with pytest.raises(EmbeddedError, match=rf"port {port}.*\(process {os.getpid()}\)"):
            await EmbeddedKafka(tmp_path, port).start()


async def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EmbeddedError, match=f"cannot write in the folder {tmp_path}/file/kafka"):
        await EmbeddedKafka(tmp_path / "file" / "kafka").start()
    with pytest.raises(EmbeddedError, match="MILEPOST_CACHE"):
        await EmbeddedKafka(tmp_path / "kafka", cache=tmp_path / "file").start()


async def test_a_broker_that_does_not_come_up_shows_its_log(tmp_path: Path) -> None:
    broker = EmbeddedKafka(tmp_path, overrides={"num.io.threads": "none"})
    with pytest.raises(EmbeddedError) as raised:
        await broker.start()
    assert str(broker.log_file) in str(raised.value)
    assert "num.io.threads" in str(raised.value)
    assert not broker.running


async def test_no_network_at_the_first_start_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    lines: list[str] = []
    broker = EmbeddedKafka(tmp_path, cache=tmp_path / "cache", progress=lines.append)
    with pytest.raises(EmbeddedError, match="The first start needs the network"):
        await broker.start()
    assert "fetching Kafka 4.3.1" in lines[0]


async def test_a_broken_jar_is_fetched_again(kafka: EmbeddedKafka, tmp_path: Path) -> None:
    (cached,) = default_cache().glob(f"kafka-*-{jars.lock_id()}/repository")
    repository = tmp_path / "repository"
    shutil.copytree(cached, repository, copy_function=os.link)
    small = next(jar for jar in jars.locked_jars() if jar.artifact == "jspecify")
    whole = small.path(repository).read_bytes()
    small.path(repository).unlink()  # the link, not the cached jar
    small.path(repository).write_bytes(whole[:100])
    lines: list[str] = []
    await jars.fetch(repository, lines.append)
    assert small.path(repository).read_bytes() == whole
    assert lines[-1] == f"fetching Kafka jars: {len(jars.locked_jars())} of 46"
