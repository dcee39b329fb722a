"""The jars of Apache Kafka: which ones (`jars.lock`), and how they come into the cache.

`jars.lock` has one line per jar, ``group:artifact:version sha256``, in class path order. It was
written by ``python -m milepost.embedded.lock`` through jgo's pure-Python Maven resolver, so a
first start neither reads 60 POMs nor trusts what it is sent, and needs no Maven and no Java.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from pathlib import Path

from milepost.embedded.errors import EmbeddedError, Progress

KAFKA_VERSION = "4.3.1"
LOCK = Path(__file__).with_name("jars.lock")
_PARALLEL = 6
TIMEOUT_S = 20


@dataclass(frozen=True)
class Jar:
    """One jar by its Maven coordinate and the SHA-256 of its bytes, in hex."""

    group: str
    artifact: str
    version: str
    sha256: str

    def path(self, repository: Path) -> Path:
        """Where it lies in a local Maven repository."""
        return (
            repository.joinpath(*self.group.split("."), self.artifact, self.version)
            / f"{self.artifact}-{self.version}.jar"
        )


def locked_jars() -> list[Jar]:
    """The jars of `jars.lock`, in class path order."""
    jars = []
    for line in LOCK.read_text().splitlines():
        coordinate, sha256 = line.split()
        group, artifact, version = coordinate.split(":")
        jars.append(Jar(group, artifact, version, sha256))
    return jars


def lock_id() -> str:
    """Twelve hex digits that change with `jars.lock`."""
    return hashlib.sha256(LOCK.read_bytes()).hexdigest()[:12]


async def fetch(repository: Path, progress: Progress) -> None:
    """Bring every locked jar into `repository`, fetching what is missing or not whole.

    The caller holds the cache's lock. Raises EmbeddedError when a jar cannot be had.
    """
    jars = locked_jars()
    done = 0
    limit = asyncio.Semaphore(_PARALLEL)

    async def fetch_one(jar: Jar) -> None:
        nonlocal done
        async with limit:
            await asyncio.to_thread(fetch_jar, jar, repository)
        done += 1
        progress(f"fetching Kafka jars: {done} of {len(jars)}")

    progress(f"fetching Kafka {KAFKA_VERSION}: {len(jars)} jars, 44 MB, once")
    try:
        async with asyncio.TaskGroup() as group:
            for jar in jars:
                group.create_task(fetch_one(jar))
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None


def fetch_jar(jar: Jar, repository: Path) -> None:
    """Bring one jar into `repository`, unless it is there and whole. The caller: see `fetch`."""
    path = jar.path(repository)
    for _ in range(2):
        # What a broken transfer or a crash left is found by its hash and fetched again.
        if path.exists():
            if hashlib.sha256(path.read_bytes()).hexdigest() == jar.sha256:
                return
            path.unlink()
        try:
            _download(jar, repository)
        except Exception as error:  # noqa: BLE001 - requests' errors, and jgo's own RuntimeError
            raise EmbeddedError(
                f"cannot fetch Kafka's jar {jar.artifact}-{jar.version} from the Maven "
                f"repository: {_reason(error)}. The first start needs the network (a proxy goes "
                "in HTTPS_PROXY, a private certificate in REQUESTS_CA_BUNDLE); or copy the folder "
                f"{repository} from a machine where Milepost has run, or point Milepost at a "
                "Kafka of yours with MILEPOST_KAFKA_BOOTSTRAP_SERVERS."
            ) from None
    if hashlib.sha256(path.read_bytes()).hexdigest() != jar.sha256:
        raise EmbeddedError(
            f"the Maven repository sent a {jar.artifact}-{jar.version}.jar that is not the one "
            f"Milepost was tested with (another SHA-256). It lies in {path}; not used."
        )


def _reason(error: Exception) -> str:
    text = str(error)
    for known in ("CERTIFICATE_VERIFY_FAILED", "Name or service not known", "Connection refused"):
        if known in text:
            return known.replace("_", " ").lower()
    return f"{type(error).__name__}: {text[:200]}"


def _download(jar: Jar, repository: Path) -> None:
    # Only a first start pays for this import.
    from jgo.maven import MavenContext, PythonResolver

    context = MavenContext(PythonResolver(), repo_cache=repository, timeout=TIMEOUT_S)
    context.project(jar.group, jar.artifact).at_version(jar.version).artifact().resolve()
