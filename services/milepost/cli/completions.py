"""The commands that read the completion topics: who ended, and what a group put aside."""

import asyncio
from typing import Annotated, Final, Literal

from cyclopts import App, Parameter
from cyclopts.types import PositiveInt
from pydantic_core import to_json

from milepost.cli import display, logs
from milepost.cli.failures import USAGE, Unable
from milepost.cli.signals import until_stopped
from milepost.cli.states import Ended
from milepost.cli.times import When, meant
from milepost.client import Completion, Subscriber
from milepost.client import dead_letters as letters
from milepost.client.start import Start
from milepost.schemas.values import TERMINAL
from milepost.settings import Settings

app: Final = App(
    name="completions",
    help="""Hear of executions that have ended, straight from Kafka: for operators.

    Example: `milepost completions tail --state failed`
    """,
)
_COLUMNS: Final = (
    "OFFSET", "PUT ASIDE", "ID", "EXECUTION", "TENANT", "ATTEMPTS", "ERROR", "ORIGIN",
)  # fmt: skip

Given = Parameter(negative=())


@app.command
def tail(
    *,
    state: Annotated[list[Ended] | None, Given] = None,
    tenant: Annotated[list[str] | None, Given] = None,
    operation: Annotated[list[str] | None, Given] = None,
    provider: Annotated[list[str] | None, Given] = None,
    from_beginning: Annotated[bool, Given] = False,
    since: When | None = None,
    count: PositiveInt | None = None,
    output: Annotated[Literal["text", "json"], Parameter(name=["--output", "-o"])] = "text",
) -> None:
    """Print each completion once, as it comes, until Ctrl-C.

    Belongs to no group, so it takes nothing away from anybody. A completion whose request is not
    known yet passes the filters on operation and provider.

    Example: `milepost completions tail --state failed --tenant acme -o json`

    Args:
        state: Only this state; it and the next three may be given several times.
        tenant: Only this tenant's.
        operation: Only this operation.
        provider: Only this provider's.
        from_beginning: Begin with the oldest that the topics still have.
        since: Begin with what was told then or later: how long ago, e.g. 2h, or a time.
        count: End after so many.
        output: A line for people, or one JSON object a line.
    """
    if from_beginning and since is not None:
        raise Unable("give --from-beginning or --since, not both.", USAGE)
    settings = Settings()
    logs.configure_for_commands(settings)
    start: Start = meant(since) or ("earliest" if from_beginning else "latest")
    completions = Subscriber(
        settings,
        states=state or TERMINAL,
        tenants=tenant,
        operations=operation,
        providers=provider,
        start=start,
    )
    asyncio.run(until_stopped(_tail(completions, count, output), say=lambda _: None))


@app.command
def dead_letters(
    group: Annotated[str, Parameter(name="GROUP")], /, *, output: display.Output = "text"
) -> None:
    """List what a consumer group has put aside and not tried again since, oldest first.

    The group's own code tries them again: run it once over a
    `Subscriber(group=GROUP, dead_letters=True)`. No command publishes them anew: every other group
    would hear of them again.

    Example: `milepost completions dead-letters billing -o jsonl`

    Args:
        group: The consumer group.
        output: A table for people, one JSON array, or one JSON object a line.
    """
    settings = Settings()
    logs.configure_for_commands(settings)
    try:
        found = asyncio.run(letters.waiting(settings, group))
    except ValueError as error:
        raise Unable(f"{error}.", USAGE) from None
    if output == "json":
        print(to_json([one._asdict() for one in found]).decode())
    elif output == "jsonl":
        for one in found:
            print(to_json(one._asdict()).decode())
    else:
        table = display.table(*_COLUMNS)
        for one in found:
            table.add_row(*_row(one))
        display.console().print(table)


async def _tail(completions: Subscriber, count: int | None, output: str) -> None:
    printed = 0
    async with completions:
        async for one in completions:
            print(_line(one) if output == "text" else one.model_dump_json(), flush=True)
            printed += 1
            if printed == count:
                return


def _line(completion: Completion) -> str:
    """When it ended, whose it is, how it ended, how long it took, and what came of it."""
    return " ".join(
        (
            display.moment(completion.ended_at or completion.recorded_at),
            completion.tenant,
            completion.execution_id,
            completion.operation or "-",
            completion.state.value,
            display.seconds(completion.duration_seconds),
            _printable(display.result(completion)),
        )
    )


def _row(letter: letters.DeadLetter) -> tuple[str, ...]:
    return (
        str(letter.offset),
        display.moment(letter.recorded_at),
        *(letter.id or "-", letter.execution_id or "-", letter.tenant or "-"),
        str(letter.attempts),
        _printable(f"{letter.error}: {letter.message}"),
        letter.origin,
    )


def _printable(text: str) -> str:
    # What providers and errors say must not drive the terminal.
    return "".join(char if char.isprintable() else " " for char in text)
