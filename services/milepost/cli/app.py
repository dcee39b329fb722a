"""The commands, and the way in and out of them all."""

import os
import sys
from importlib.metadata import version
from typing import Final

from cyclopts import App

from milepost.cli import (
    api_keys,
    audit,
    completions,
    events,
    executions,
    failures,
    maintenance,
    resources,
    services,
    webhooks,
)
from milepost.cli.demo import demo
from milepost.cli.doctor import doctor
from milepost.cli.listen import listen
from milepost.cli.run import run
from milepost.cli.up import up

app: Final = App(
    name="milepost",
    help="""Track compute provisioning executions: provider events in, completions out.

    Example: `milepost up`, and in another terminal `milepost run --tenant acme -- make deploy`
    """,
    version=lambda: version("milepost"),
    result_action="return_int_as_exit_code_else_zero",
)
app.command(up)
app.command(run)
app.command(listen)
app.command(executions.app)
app.command(resources.app)
app.command(completions.app)
app.command(events.app)
app.command(demo)
app.command(doctor)
app.command(services.processor)
app.command(services.api)
app.command(webhooks.app)
app.command(api_keys.app)

topics: Final = App(
    name="topics",
    help="The topics on the Kafka broker.\n\nExample: `milepost topics apply --partitions 12`",
)
topics.command(services.apply_topics, name="apply")
topics.command(services.acls)
app.command(topics)

db: Final = App(name="db", help="The Postgres database.\n\nExample: `milepost db migrate`")
db.command(services.migrate)
db.command(services.take_back, name="rollback")
db.command(maintenance.maintain)
app.command(db)
app.command(maintenance.app)
app.command(audit.app)


def main() -> None:
    """Run the command that the arguments name and exit with its status."""
    try:
        status = app()
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our output (`| head`) has left. What Python still holds for it must not be
        # written at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    except Exception as error:  # noqa: BLE001 - the one place that turns errors into sentences
        status = failures.report(error)
    sys.exit(status)
