"""Publish the contract as files: `python -m milepost.schemas.publish DIRECTORY`.

JSON Schemas (draft 2020-12) of events and notifications, an AsyncAPI document that holds them all, the
topics, the catalogue of failures, example records, and the test vectors of the identifiers and of signed
webhooks. The same code always gives the same bytes.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel

from milepost.schemas import asyncapi, yaml_text
from milepost.schemas.events import EVENTS
from milepost.schemas.example_notifications import notifications
from milepost.schemas.examples import examples
from milepost.schemas.failures import CATALOGUE
from milepost.schemas.json_schemas import json_schema
from milepost.schemas.notifications import (
    COMMAND_TYPE,
    COMPLETION_TYPE,
    Command,
    Completion,
    Execution,
)
from milepost.schemas.topics import DEFAULT_PREFIX, Topics
from milepost.schemas.values import TERMINAL, State
from milepost.schemas.vectors import vectors
from milepost.schemas.webhook_vectors import webhook_vectors
from milepost.schemas.webhooks import PAYLOADS

# The folders that belong to this command: what it no longer generates is deleted from them.
FOLDERS: Final = ("events", "notifications", "examples")
NOTIFICATIONS: Final[dict[str, type[BaseModel]]] = {
    "completion.v1": Completion,
    "command.v1": Command,
    "execution.v1": Execution,
    **PAYLOADS,
}


def published() -> dict[str, bytes]:
    """Every file of the published contract: its path with forward slashes, and its bytes."""
    documents: dict[str, Any] = {
        "topics.json": _topics(),
        "failures.json": {"failures": [entry._asdict() for entry in CATALOGUE]},
        "identifiers.json": vectors(),
        "webhooks.json": webhook_vectors(),
    }
    for name, data in EVENTS.items():
        documents[f"events/{name}.schema.json"] = json_schema(name, data)
    for name, model in NOTIFICATIONS.items():
        documents[f"notifications/{name}.schema.json"] = json_schema(f"milepost.{name}", model)
    for example in (*examples(), *notifications()):
        documents[f"examples/{example.type}/{example.name}.json"] = example.document()
    files = {path: _pretty(document) for path, document in documents.items()}
    files["asyncapi.yaml"] = yaml_text.dump(asyncapi.document()).encode()
    return dict(sorted(files.items()))


def _topics() -> dict[str, Any]:
    topics = Topics()
    types = {topics.events: list(EVENTS)}
    types[topics.commands] = [COMMAND_TYPE.format(command=name) for name in ("start", "cancel")]
    for state in State:
        if state in TERMINAL:
            types[topics.completions(state)] = [COMPLETION_TYPE.format(state=state.value)]
    return {
        "prefix": DEFAULT_PREFIX,
        "topics": [
            {"name": topic.name, "types": types.get(topic.name, []), "config": topic.config()}
            for topic in topics.declared()
        ],
    }


def _pretty(document: Any) -> bytes:
    return f"{json.dumps(document, indent=2, ensure_ascii=False)}\n".encode()


def write(directory: Path) -> str:
    """Make `directory` hold the published contract; returns a line that says what changed.

    Raises FileExistsError when it holds other things instead, OSError when it cannot be written.
    """
    if directory.is_dir() and any(directory.iterdir()) and not _is_contract(directory):
        raise FileExistsError(f"{directory} is neither empty nor a published contract")
    files = published()
    written = deleted = 0
    for path, content in files.items():
        target = directory / path
        if not target.is_file() or target.read_bytes() != content:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
            written += 1
    for folder in FOLDERS:
        for stale in sorted((directory / folder).rglob("*.json")):
            if stale.relative_to(directory).as_posix() not in files:
                stale.unlink()
                deleted += 1
                if not any(stale.parent.iterdir()):
                    stale.parent.rmdir()
    return f"{directory}: {len(files)} files, {written} written, {deleted} deleted"


def _is_contract(directory: Path) -> bool:
    return (directory / "identifiers.json").is_file()


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m milepost.schemas.publish",
        description="Regenerate the published contract: JSON Schemas, the AsyncAPI document, topics, "
        "failures, examples and the test vectors of the identifiers.",
        epilog="example: python -m milepost.schemas.publish schemas/published",
    )
    parser.add_argument("directory", type=Path, help="where the published contract is")
    directory: Path = parser.parse_args(arguments).directory
    try:
        print(write(directory))
    except OSError as error:
        print(f"{parser.prog}: cannot publish to {directory}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
