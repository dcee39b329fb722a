"""`milepost run`: a command as an execution of a tenant."""

import asyncio
import sys
from contextlib import suppress
from datetime import timedelta
from typing import Annotated, Final

from cyclopts import Parameter

from milepost.cli import logs
from milepost.cli.failures import Unable
from milepost.cli.labels import Labels, read_labels
from milepost.cli.signals import STOP
from milepost.client import ApiUnavailable, MilepostClient, MilepostError, State
from milepost.providers import process
from milepost.providers.caller import CANCELLED, Outcome, Update, pass_on
from milepost.settings import Settings

_REMEMBERED_BYTES: Final = 8_192
_HINT_SECONDS: Final = 2.0


def run(
    *command: Annotated[str, Parameter(allow_leading_hyphen=True)],
    tenant: str,
    operation: str = "provision",
    key: str | None = None,
    label: Labels = None,
    broker_timeout: timedelta = timedelta(seconds=10),
) -> int:
    """Run a command as an execution of a tenant, and pass its exit status on.

    What the command prints goes through; what Milepost says about it goes to standard error. The
    same tenant, operation and key (without a key: the same command) is the same execution: a second
    call follows the first, and nothing runs twice. Ctrl-C and cancellation requests end the command
    (exit status 130).

    Example: `milepost run --tenant acme --key deploy-42 --label team=web -- make deploy`

    Args:
        command: The command and its arguments, after `--`.
        tenant: Whose execution it is.
        operation: provision, update, rollback, deprovision, or another lower-case word.
        key: Idempotency key.
        label: `name=value`; may be given several times.
        broker_timeout: How long to wait for Kafka before anything has begun, e.g. 30s or 2m.
    """
    if not command:
        raise Unable("there is no command to run: milepost run --tenant acme -- COMMAND...", 2)
    settings = Settings()
    logs.configure_for_commands(settings)
    labels, broker_seconds = read_labels(label), broker_timeout.total_seconds()
    outcome = asyncio.run(
        _run(list(command), tenant, operation, key, labels, broker_seconds, settings)
    )
    if outcome.followed:
        say(f"{outcome.execution_id} was run by another call; nothing was run by this one")
    return outcome.exit_code


async def _run(
    command: list[str],
    tenant: str,
    operation: str,
    key: str | None,
    labels: dict[str, str],
    broker_seconds: float,
    settings: Settings,
) -> Outcome:
    terminal, cancel = _Terminal(), asyncio.Event()
    running = asyncio.create_task(
        process.run(
            command,
            tenant=tenant,
            operation=operation,
            key=key,
            labels=labels or None,
            settings=settings,
            on_update=terminal.update,
            echo=terminal.echo,
            cancel=cancel,
            broker_seconds=broker_seconds,
        )
    )

    def stop() -> None:
        # First an orderly end; asked again, the quickest.
        if cancel.is_set() or not terminal.heard:
            running.cancel()
        else:
            say("stopping")
        cancel.set()

    loop = asyncio.get_running_loop()
    for number in STOP:
        loop.add_signal_handler(number, stop)
    hints = asyncio.create_task(_hint(settings, terminal))
    try:
        return await running
    except asyncio.CancelledError:
        raise Unable("stopped before it was over.", CANCELLED) from None
    finally:
        hints.cancel()


async def _hint(settings: Settings, terminal: "_Terminal") -> None:
    """Say what is waited for; the command itself needs the broker only."""
    await asyncio.sleep(_HINT_SECONDS)
    if not terminal.heard:
        say(f"waiting for Kafka at {settings.kafka_bootstrap_servers}")
        return
    async with MilepostClient(settings.api_url, settings.bearer) as api:
        try:
            await api.execution(terminal.execution_id)
        except ApiUnavailable as error:
            say(f"{error} The command runs all the same; following another caller's would not.")
        except MilepostError:
            pass  # it answers


class _Terminal:
    """Passes on what the command prints, and shows what else there is to know."""

    def __init__(self) -> None:
        self.heard = False
        self.execution_id = ""
        self._state: State | None = None
        self._printed = b""

    def echo(self, stream: str, piece: bytes) -> None:
        pass_on(stream, piece)
        self._printed = (self._printed + piece)[-_REMEMBERED_BYTES:]

    def update(self, update: Update) -> None:
        self.heard, self.execution_id = True, update.execution_id
        # Progress is taken from the command's own lines, which are on the screen already.
        if update.state is self._state and update.message.encode() in self._printed:
            return
        self._state = update.state
        say(f"{update.execution_id} {update.state.value}: {update.message}")


def say(line: str) -> None:
    """A line about the execution, on standard error."""
    with suppress(BrokenPipeError):
        print(f"milepost: {line}", file=sys.stderr, flush=True)
