"""The commands that look at raw records, straight in the database: for operators."""

import asyncio
import json
from collections.abc import Iterator
from typing import Annotated, Any, Final

from cyclopts import App, Parameter

from milepost.cli import display, logs
from milepost.cli.display import Output
from milepost.cli.failures import Unable
from milepost.settings import Settings

app: Final = App(
    name="events",
    help="""Look at the raw records that were folded.

    Example: `milepost events explain milepost.executions.events.v1 0 42`
    """,
)
_CONNECT_SECONDS: Final = 10


@app.command
def explain(
    topic: Annotated[str, Parameter(name="TOPIC")],
    partition: Annotated[int, Parameter(name="PARTITION")],
    offset: Annotated[int, Parameter(name="OFFSET")],
    /,
    *,
    output: Output = "text",
) -> None:
    """Say what became of one raw record, and why: whatever it held, and whosever it is.

    Reads the database itself; tenants find their own records at the API, under their executions.

    Example: `milepost events explain milepost.executions.events.v1 0 42 -o json`

    Args:
        topic: The topic, by its whole name.
        partition: The partition.
        offset: The record's offset in it.
        output: Lines for people, or one JSON object.
    """
    from milepost.projections.view import to_json

    found = asyncio.run(_explain(topic, partition, offset))
    if output == "text":
        for name, value in _facts(found):
            print(f"{name + ':':<13} {value}")
    else:
        print(to_json(found).decode())


async def _explain(topic: str, partition: int, offset: int) -> dict[str, Any]:
    import asyncpg

    from milepost.projections.explain import NotInLog, explain

    settings = Settings()
    logs.configure_for_commands(settings)
    connection = await asyncpg.connect(settings.dsn, timeout=_CONNECT_SECONDS)
    try:
        return (await explain(connection, topic, partition, offset))._asdict()
    except NotInLog as error:
        raise Unable(str(error)) from None
    finally:
        await connection.close()


def _facts(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Name and value of everything that is known of a record, the conclusion first."""
    yield "record", f"{found['topic']}/{found['partition']}/{found['offset']}"
    reason = f" ({found['reason']})" if found["reason"] else ""
    yield "disposition", f"{found['disposition']}{reason}"
    yield "why", found["why"]
    if found["execution_id"]:
        yield "execution", found["execution_id"]
        yield "tenant", found["tenant"]
        yield "ordinal", f"{found['ordinal']} (of the records folded into this execution)"
    if found["transition"]:
        yield "transition", f"to {found['transition']}"
    for name in ("occurred", "reported", "recorded"):
        yield name, display.moment(found[f"{name}_at"])
    if found["skewed"]:
        yield "clocks", "these times disagree by more than five minutes"
    if event := found["event"]:
        yield "event", f"{event['type']} {event['id']} from {event['source']}"
        yield "data", display.one_line(json.dumps(event["data"], ensure_ascii=False))
    for sent in found["emitted"]:
        yield "emitted", f"{sent['topic']} {sent['type']} {sent['id'] or ''}".rstrip()
    yield "key", display.one_line(found["key"] or "(none)")
    for name, value in found["headers"]:
        yield "header", display.one_line(f"{name}={'(null)' if value is None else value}")
    yield "value", f"{found['value_bytes']} bytes, sha256 of the record {found['sha256']}"
    if not found["event"] and found["value"] is not None:
        yield "raw", display.one_line(found["value"])
