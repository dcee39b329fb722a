"""The commands that ask the API about executions."""

import asyncio
from contextlib import suppress
from datetime import timedelta
from typing import Annotated, Final

from cyclopts import App, Parameter
from cyclopts.types import PositiveInt

from milepost.cli import display
from milepost.cli.asking import asked
from milepost.cli.display import Output
from milepost.cli.failures import Unable
from milepost.cli.labels import Labels, read_labels
from milepost.cli.times import When, meant
from milepost.client import Execution, MilepostClient, State, WaitTimeout
from milepost.schemas.values import Level

app: Final = App(
    name="executions",
    help="""Look at executions, follow them, call them off.

    Example: `milepost executions list --tenant acme --state failed`
    """,
)
TIMED_OUT: Final = 124
_STATUS: Final = {State.SUCCEEDED: 0, State.FAILED: 1, State.CANCELLED: 2}
_COLUMNS: Final = ("EXECUTION", "OPERATION", "STATE", "REQUESTED", "DURATION", "RESULT")
_Flag = Annotated[bool, Parameter(negative=())]
Id = Annotated[str, Parameter(name="ID")]


@app.command
def get(
    execution_ids: Annotated[list[str], Parameter(name="ID", negative=())],
    /,
    *,
    wait: timedelta | None = None,
    tenant: str | None = None,
    output: Output = "text",
) -> None:
    """Show one execution, or several.

    Example: `milepost executions get 2f1c9e0a-5b0e-5d53-9d4f-0a3d3c9f0f11 --wait 30s`

    Args:
        execution_ids: The executions' ids.
        wait: Wait this long for their ends, e.g. 30s or 5m; then show them as they are.
        tenant: Whose they are, where several tenants may be asked about.
        output: Lines for people, one JSON object (an array of several), or one JSON object a line.
    """

    async def ended(api: MilepostClient, execution_id: str, wait: timedelta) -> None:
        with suppress(WaitTimeout):
            await api.wait(execution_id, wait.total_seconds(), tenant=tenant)

    async def look(api: MilepostClient) -> dict[str, Execution]:
        if wait is not None:
            await asyncio.gather(*(ended(api, one, wait) for one in execution_ids))
        return await api.look_up(execution_ids, tenant=tenant)

    found = asked(look)
    if output == "json" and len(execution_ids) > 1:
        display.show_all(list(found.values()), output, (), ())
    else:
        for number, execution in enumerate(found.values()):
            if number and output == "text":
                print()
            _show(execution, output)
    if missing := [one for one in execution_ids if one not in found]:
        raise Unable(f"no execution {' and no '.join(missing)} is known.")


@app.command(name="list")
def list_(
    *,
    tenant: str,
    state: State | None = None,
    operation: str | None = None,
    provider: str | None = None,
    label: Labels = None,
    id_prefix: str | None = None,
    since: When | None = None,
    before: When | None = None,
    ended_since: When | None = None,
    ended_before: When | None = None,
    silent: _Flag = False,
    overdue: _Flag = False,
    conflicting: _Flag = False,
    limit: PositiveInt = 100,
    output: Output = "text",
) -> None:
    """List a tenant's executions, the newest last.

    Example: `milepost executions list --tenant acme --state failed -o jsonl`

    Args:
        tenant: Whose executions.
        state: Only those in this state.
        operation: Only this operation.
        provider: Only those of this provider.
        label: Only those with this label, `name=value`; may be given several times.
        id_prefix: Only those whose ids begin so; at least four digits.
        since: Only those first recorded then or later: how long ago, e.g. 2h, or a time.
        before: Only those first recorded earlier: how long ago, or a time.
        ended_since: Only those that ended then or later: how long ago, or a time.
        ended_before: Only those that ended earlier: how long ago, or a time.
        silent: Only those that nothing was heard of for longer than they should be quiet.
        overdue: Only those that take longer than they should.
        conflicting: Only those whose reports contradict each other.
        limit: At most so many, the newest.
        output: A table for people, one JSON array, or one JSON object a line.
    """

    labels = read_labels(label)

    async def look(api: MilepostClient) -> list[Execution]:
        found: list[Execution] = []
        newest_first = api.executions(
            tenant,
            state=state,
            operation=operation,
            provider=provider,
            labels=labels,
            id_prefix=id_prefix,
            first_recorded_since=meant(since),
            first_recorded_before=meant(before),
            ended_since=meant(ended_since),
            ended_before=meant(ended_before),
            silent=silent or None,
            overdue=overdue or None,
            conflicting=conflicting or None,
            order="desc",
            page_size=min(limit, 100),
        )
        async for execution in newest_first:
            found.append(execution)
            if len(found) == limit:
                break
        return found[::-1]

    found = asked(look)
    display.show_all(found, output, _COLUMNS, map(display.row, found))


@app.command
def watch(
    execution_id: Id,
    /,
    *,
    timeout: timedelta | None = None,
    tenant: str | None = None,
    output: Output = "text",
) -> int:
    """Follow one execution to its end; the exit status says how it ended.

    0 succeeded, 1 failed, 2 cancelled, 124 not over in time.

    Example: `milepost executions watch 2f1c9e0a-5b0e-5d53-9d4f-0a3d3c9f0f11 --timeout 10m`

    Args:
        execution_id: The execution's id.
        timeout: Give up after this time, e.g. 90s or 1h.
        tenant: Whose it is, where several tenants may be asked about.
        output: A line per news for people, the end as one JSON object, or one object per news.
    """
    last: Execution | None = None

    async def follow(api: MilepostClient) -> None:
        nonlocal last
        async for last in api.updates(execution_id, tenant=tenant):
            if output == "jsonl":
                print(last.model_dump_json(), flush=True)
            elif output == "text":
                news = f"{display.moment(last.recorded_at)} {last.state.value} {_progress(last)}"
                print(display.one_line(news.rstrip()), flush=True)

    async def in_time(api: MilepostClient) -> None:
        async with asyncio.timeout(timeout.total_seconds() if timeout else None):
            await follow(api)

    try:
        asked(in_time)
    except TimeoutError:
        state = last.state.value if last else "not known"
        raise Unable(f"execution {execution_id} is {state} after {timeout}.", TIMED_OUT) from None
    assert last is not None
    if output != "jsonl":
        _show(last, output)
    return _STATUS[last.state]


@app.command
def logs(
    execution_id: Id,
    /,
    *,
    follow: Annotated[bool, Parameter(name=["--follow", "-f"], negative=())] = False,
    tail: PositiveInt | None = None,
    level: Level = Level.DEBUG,
    tenant: str | None = None,
    output: Output = "text",
) -> None:
    """Show the log lines of one execution.

    Example: `milepost executions logs 2f1c9e0a-5b0e-5d53-9d4f-0a3d3c9f0f11 -f --tail 20`

    Args:
        execution_id: The execution's id.
        follow: Go on with what comes until the execution is over.
        tail: Begin with the last so many lines, 500 at most.
        level: Only lines of this severity or a higher one.
        tenant: Whose it is, where several tenants may be asked about.
        output: Lines for people, or one JSON object a line.
    """

    async def show(api: MilepostClient) -> None:
        async for entry in api.logs(
            execution_id, tenant=tenant, level=level, tail=tail, follow=follow
        ):
            if output == "text":
                time, severity = display.moment(entry.occurred_at), entry.level.value
                print(f"{time} {severity:<7} {display.one_line(entry.message)}", flush=True)
            else:
                print(entry.model_dump_json(), flush=True)

    asked(show)


@app.command
def cancel(
    execution_id: Id,
    /,
    *,
    reason: str | None = None,
    tenant: str | None = None,
    output: Output = "text",
) -> None:
    """Ask for an execution to be called off; its provider ends it.

    Example: `milepost executions cancel 2f1c9e0a-5b0e-5d53-9d4f-0a3d3c9f0f11 --reason typo`

    Args:
        execution_id: The execution's id.
        reason: Why.
        tenant: Whose it is, where several tenants may be asked about.
        output: Lines for people, or one JSON object.
    """
    _show(asked(lambda api: api.cancel(execution_id, reason=reason, tenant=tenant)), output)


def _show(execution: Execution, output: str) -> None:
    if output == "text":
        display.show_facts(display.facts(execution))
    else:
        print(execution.model_dump_json())


def _progress(execution: Execution) -> str:
    known = execution.progress
    if known is None:
        return ""
    percent = "" if known.percent is None else f"{known.percent:g} % "
    step = "" if known.step is None else f"[{known.step}/{known.steps or '?'}] "
    return f"{percent}{step}{known.message or ''}"
