"""The commands for operators: one service each, and what must be prepared for them.

They take their settings from the environment (`MILEPOST_...`).
"""

import asyncio
import json
import sys
from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.types import PositiveInt

from milepost.cli import logs, parent
from milepost.cli.display import Output
from milepost.cli.failures import USAGE, Unable
from milepost.schemas.topics import DEFAULT_PARTITIONS
from milepost.settings import Settings


def processor() -> None:
    """Fold events into the projections and send completions, until SIGTERM or Ctrl-C.

    Prints one JSON line when it has its partitions. Start as many as the events topic has
    partitions at most; each takes its share.

    Example: `MILEPOST_KAFKA_BOOTSTRAP_SERVERS=kafka:9092 milepost processor`
    """
    from milepost.processor.app import serve

    settings = _service_settings()
    asyncio.run(serve(settings, ready=_ready))


def api() -> None:
    """Serve the HTTP API, until SIGTERM or Ctrl-C.

    Prints one JSON line with its URL when it listens.

    Example: `MILEPOST_API_PORT=8081 milepost api`
    """
    import uvloop

    from milepost.api import serve

    settings = _service_settings()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(settings))


def webhooks() -> None:
    """Send completions to the endpoints of tenants, until SIGTERM or Ctrl-C."""
    import uvloop

    from milepost.webhooks import serve

    settings = _service_settings()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(settings, ready=_ready))


def apply_topics(
    *,
    partitions: PositiveInt = DEFAULT_PARTITIONS,
    replication: PositiveInt = 1,
    output: Annotated[Literal["text", "json"], Parameter(name=["--output", "-o"])] = "text",
) -> None:
    """Create the topics that are missing and correct the configuration of the others.

    Example: `milepost topics apply --partitions 12 --replication 3`

    Args:
        partitions: Partitions of topics that are created; existing ones keep theirs.
        replication: Copies of topics that are created.
        output: A line per topic for people, or one JSON array.
    """
    from milepost.processor.topics import apply

    settings = Settings()
    logs.configure_for_commands(settings)
    applied = asyncio.run(apply(settings, partitions=partitions, replication=replication))
    if output == "json":
        print(json.dumps([one._asdict() for one in applied]))
    else:
        for one in applied:
            print(f"{one.outcome:<9} {one.name}")


def acls(
    *,
    processor: list[str] | None = None,
    api: list[str] | None = None,
    webhooks: list[str] | None = None,
    publisher: list[str] | None = None,
    subscriber: list[str] | None = None,
    worker: list[str] | None = None,
    operator: list[str] | None = None,
    group: list[str] | None = None,
    output: Annotated[Literal["text", "json"], Parameter(name=["--output", "-o"])] = "text",
) -> None:
    """Print the rights at the broker that these users need, and no others. Asks no broker.

    Every option may be given several times.

    Example: `milepost topics acls --processor User:milepost-processor --api User:milepost-api`

    Args:
        processor: Who runs `milepost processor`, e.g. User:processor, or User:CN=processor.
        api: Who runs `milepost api`.
        webhooks: Who runs `milepost webhooks`.
        publisher: Who publishes what a provider reports.
        subscriber: Who reads completions; the groups are said with `--group`.
        worker: Who takes work from Milepost and reports on it, `milepost run` included.
        operator: Who runs `milepost topics apply`.
        group: A consumer group of the subscribers and workers.
        output: Calls of kafka-acls.sh, a line each, or one JSON array.
    """
    from milepost.rights import Principals, commands, rights

    settings = Settings()
    who = (processor, api, webhooks, publisher, subscriber, worker, operator, group)
    principals = Principals(*(tuple(some or ()) for some in who))
    if wrong := [one for some in principals[:-1] for one in some if not one.startswith("User:")]:
        raise Unable(f"{wrong[0]!r} is no principal of Kafka's: write User:{wrong[0]}", USAGE)
    needed = rights(settings, principals)
    if not needed:
        raise Unable("say whose rights: --processor User:processor, for one", USAGE)
    if output == "json":
        print(json.dumps([one._asdict() for one in needed]))
    else:
        print("\n".join(commands(needed, settings.kafka_bootstrap_servers)))


def migrate() -> None:
    """Bring the database to the schema of this version. Safe from several places at once.

    Example: `MILEPOST_DATABASE_URL=postgresql://me@db/milepost milepost db migrate`
    """
    from milepost.projections.migrate import migrate

    settings = Settings()
    logs.configure(settings)
    asyncio.run(migrate(settings.dsn))
    print("the database has this version's schema", file=sys.stderr)


def take_back(
    *,
    to: str,
    lose: Annotated[bool, Parameter(negative=())] = False,
    dry_run: Annotated[bool, Parameter(negative=())] = False,
    output: Output = "text",
) -> None:
    """Take the newest migrations back, all or none, while the services run. Going back to an older version
    of the services does not need this.

    What would be lost is said first, and nothing is done without `--lose`.

    Example: `milepost db rollback --to 0009 --dry-run`

    Args:
        to: The newest migration that stays, by its number or name.
        lose: Do it although rows are lost for ever.
        dry_run: Only say which migrations would be taken back, and what would be lost.
        output: A line per migration for people, or one JSON array.
    """
    from milepost.projections.undo import undo

    settings = Settings()
    logs.configure_for_commands(settings)
    undone = asyncio.run(undo(settings.dsn, to, lose=lose, dry_run=dry_run))
    if output == "text":
        for one in undone:
            lost = ", ".join(f"{what} ({rows:,} rows)" for what, rows in one.losses)
            print(
                f"{'would go' if dry_run else 'gone':<8} {one.migration}: loses {lost or 'nothing'}"
            )
        return
    told = [
        {
            "migration": one.migration,
            "undone": not dry_run,
            "losses": [loss._asdict() for loss in one.losses],
        }
        for one in undone
    ]
    print(json.dumps(told))


def _service_settings() -> Settings:
    settings = Settings()
    logs.configure(settings)
    parent.follow()
    return settings


def _ready(line: str) -> None:
    print(line, flush=True)
