"""Writes `jars.lock` anew: ``python -m milepost.embedded.lock``, after KAFKA_VERSION has changed."""

from __future__ import annotations

import hashlib
import sys
import tempfile
from pathlib import Path

from jgo.maven import MavenContext, PythonResolver

from milepost.embedded.jars import KAFKA_VERSION, LOCK, TIMEOUT_S

_ROOTS = (
    f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}",
    # The binding for Kafka's log. Log4j 2, the usual one, costs some 0.3 s of start.
    "org.slf4j:slf4j-simple:1.7.36",
)


def resolve() -> str:
    """Resolve Kafka and all it needs to run; return the text of a `jars.lock`."""
    with tempfile.TemporaryDirectory() as folder:
        context = MavenContext(PythonResolver(), repo_cache=Path(folder), timeout=TIMEOUT_S)
        roots, rest = context.resolver.resolve([context.create_dependency(root) for root in _ROOTS])
        lines = []
        for dependency in [*roots, *rest]:
            sha256 = hashlib.sha256(dependency.artifact.resolve().read_bytes()).hexdigest()
            lines.append(
                f"{dependency.groupId}:{dependency.artifactId}:{dependency.version} {sha256}\n"
            )
        return "".join(lines)


if __name__ == "__main__":
    LOCK.write_text(resolve())
    sys.stdout.write(f"wrote {LOCK}\n")
