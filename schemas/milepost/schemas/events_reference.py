"""Publish what is in the records: `python -m milepost.schemas.events_reference FILE`."""

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel

from milepost.schemas.asyncapi_messages import components, messages
from milepost.schemas.events import EVENTS
from milepost.schemas.json_schemas import shared_schemas
from milepost.schemas.member_tables import table
from milepost.schemas.notifications import Command, Completion, Execution
from milepost.schemas.topics import Topics
from milepost.schemas.values import (
    Expectations,
    Failure,
    Links,
    LogLine,
    Progress,
    Resource,
)

_VALUES: Final = (Resource, Progress, LogLine, Failure, Links, Expectations)
_HEAD: Final = """# Events and notifications

Generated from the contract by `make schemas`: what is in the records of each topic. Programs read the same
from [`asyncapi.yaml`](../../schemas/published/asyncapi.yaml) and the JSON Schemas beside it, where
[examples](../../schemas/published/examples) of every type are, too. How to publish:
[publish a provider's events](../how-to/publish-provider-events.md); how to consume:
[consume completions](../how-to/consume-completions.md).

What an event has outside these bounds is quarantined, with the member named. Members that are not known
are ignored, so that a publisher may be newer than Milepost.
"""


def page() -> str:
    """The whole page, Markdown."""
    return _HEAD + "".join(_sections())


def _sections() -> Iterator[str]:
    models: list[type[BaseModel]] = [*EVENTS.values(), Completion, Command]
    schemas = shared_schemas(models, "#/$defs/{model}")
    yield "\n## Topics\n\n| topic | record types | kept for | largest record |\n|---|---|---|---|\n"
    topics = Topics()
    carried = messages()
    for topic in topics.declared():
        types = dict.fromkeys(
            one["name"] for one in carried[topic.name.removeprefix(topics.prefix)[:-3]].values()
        )
        days, size = topic.retention_ms // 86_400_000, topic.max_message_bytes
        yield (
            f"| `{topic.name}` | {', '.join(f'`{name}`' for name in types)} | {days} days "
            f"| {size:,} bytes |\n"
        )
    yield "\nThe key of every record is the execution id as text; of a quarantined one, what it was.\n"
    yield from _headers()
    for data in EVENTS.values():
        yield from _model(f"`{data.type}`", data, schemas)
    for value in _VALUES:
        yield from _model(value.__name__, value, schemas)
    for notification in (Completion, Command):
        yield from _model(notification.__name__, notification, schemas)
    written = {model.__name__ for model in (*models, *_VALUES)}
    for name, schema in schemas.items():
        if name not in written and "properties" in schema:
            yield f"\n## {name}\n\n{schema['description']}\n\n{table(schema, schemas)}"


def _headers() -> Iterator[str]:
    binary = components()["messageTraits"]["binary"]["headers"]
    yield (
        "\n## Headers\n\nIn binary mode the attributes are headers and the value is the data. In "
        "structured mode (`content-type: application/cloudevents+json`) the value has both: the "
        "attributes without `ce_`, and `data`.\n\n"
    )
    yield table(binary, {})
    quarantined = messages()["quarantine"]["quarantined"]
    yield f"\n{quarantined['summary']}\n\n{table(quarantined['headers'], {})}"


def _model(title: str, model: type[Any], schemas: dict[str, Any]) -> Iterator[str]:
    parents = (Execution,) if model is Completion else ()
    said = "\n\n".join(inspect.getdoc(one) or "" for one in (model, *parents))
    yield f"\n## {title}\n\n{said}\n\n{table(schemas[model.__name__], schemas)}"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page())
