"""Reading back what the demo did, and comparing it with what should have come of it."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import Final, NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from rich.table import Table

from milepost.cli import display
from milepost.cli.demo.operations import Operation
from milepost.cli.demo.performance import Performed
from milepost.client import (
    Completion,
    Execution,
    LogEntry,
    MilepostClient,
    State,
    Subscriber,
    WaitTimeout,
    broker,
)
from milepost.schemas.values import TERMINAL
from milepost.settings import Settings

_SECONDS: Final = 30


class Found(NamedTuple):
    """What the API and the completion topics say.

    `executions` by id, `listed` in the order of each tenant's list, `received` by a subscriber,
    `completions` the number of records by (execution id, state), `timeline` of the first operation.
    """

    executions: dict[str, Execution]
    listed: dict[str, list[str]]
    resources: set[tuple[str, str]]
    received: set[str]
    completions: Counter[tuple[str, State]]
    timeline: list[LogEntry]


async def read_back(planned: list[Operation], performed: Performed, settings: Settings) -> Found:
    """Ask the API about the tenants, and read the completion topics to their ends."""
    ids = {outcome.execution_id for outcomes in performed.values() for outcome in outcomes}
    async with MilepostClient(settings.api_url, settings.bearer) as api:
        # A command's end is published before the call returns, and folded a moment later.
        executions = {one: await _ended(api, one) for one in sorted(ids)}
        listed = {
            tenant: [one.execution_id async for one in api.executions(tenant)]
            for tenant in sorted({operation.tenant for operation in planned})
        }
        resources = {(tenant, one.id) for tenant in listed for one in await api.resources(tenant)}
        first = performed[planned[0].title][0].execution_id
        timeline = [entry async for entry in api.logs(first)]
    received = await _receive(settings, ids)
    return Found(executions, listed, resources, received, await _count(settings), timeline)


async def _ended(api: MilepostClient, execution_id: str) -> Execution:
    """The execution when it is over, or as it is when that takes too long."""
    try:
        return await api.wait(execution_id, _SECONDS)
    except WaitTimeout:
        return await api.execution(execution_id)


async def _receive(settings: Settings, wanted: set[str]) -> set[str]:
    """The executions whose completion a subscriber of all states hears of in time."""
    received: set[str] = set()
    async with Subscriber(settings, group="milepost-demo", start="earliest") as completions:
        with suppress(TimeoutError):
            async with asyncio.timeout(_SECONDS):
                async for completion in completions:
                    received.add(completion.execution_id)
                    if wanted <= received:
                        break
    return received


async def _count(settings: Settings) -> Counter[tuple[str, State]]:
    """Every committed record of the completion topics; a subscriber would drop repeats unseen."""
    counted: Counter[tuple[str, State]] = Counter()
    consumer = AIOKafkaConsumer(
        *(settings.topics.completions(state) for state in TERMINAL),
        **broker.connection(settings),
        isolation_level="read_committed",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    await consumer.start()
    try:
        with suppress(TimeoutError):  # what is missing then is reported as such
            async with asyncio.timeout(_SECONDS):
                ends: dict[TopicPartition, int] = await consumer.end_offsets(consumer.assignment())
                while any([await consumer.position(one) < end for one, end in ends.items()]):
                    for records in (await consumer.getmany(timeout_ms=200)).values():
                        read = [Completion.model_validate_json(one.value) for one in records]
                        counted.update((one.execution_id, one.state) for one in read)
    finally:
        await consumer.stop()
    return counted


def differences(planned: list[Operation], performed: Performed, found: Found) -> list[str]:
    """Everything that is not as it should be, one sentence each."""
    wrong = [
        f"{operation.tenant} {operation.operation} ({operation.title}): {difference}"
        for operation in planned
        for difference in _of_operation(operation, performed, found)
    ]
    for tenant, listed in found.listed.items():
        expected = {performed[one.title][0].execution_id for one in planned if one.tenant == tenant}
        if len(listed) != len(expected) or set(listed) != expected:
            wrong.append(f"{tenant}: the API lists {len(listed)} executions, not {len(expected)}")
        times = [found.executions[one].first_recorded_at for one in listed if one in expected]
        if times != sorted(times):
            wrong.append(f"{tenant}: its executions are not in chronological order")
    return wrong


def _of_operation(operation: Operation, performed: Performed, found: Found) -> Iterator[str]:
    outcomes = performed[operation.title]
    execution = found.executions[outcomes[0].execution_id]
    if len({outcome.execution_id for outcome in outcomes}) != 1:
        yield "its calls have different execution ids"
    if (ran := sum(not outcome.followed for outcome in outcomes)) != 1:
        yield f"{ran} of its calls ran the command, not 1"
    if statuses := {one.exit_code for one in outcomes} - {operation.exit_code}:
        yield f"exit status {', '.join(map(str, sorted(statuses)))}, not {operation.exit_code}"
    if execution.state is not operation.state:
        yield f"{execution.state.value}, not {operation.state.value}"
    states = [step.state for step in execution.transitions]
    if states != [State.PENDING, State.RUNNING, operation.state]:
        yield f"its transitions are {', '.join(state.value for state in states)}"
    if execution.execution_id not in found.received:
        yield "no subscriber heard of its completion"
    if (seen := _completions(execution, found)) != 1:
        yield f"{seen} completions, not 1"
    missing = {one.id for one in execution.resources if not one.released} - {
        resource for tenant, resource in found.resources if tenant == operation.tenant
    }
    if missing:
        yield f"the tenant's resources lack {', '.join(sorted(missing))}"
    if difference := operation.check(execution):
        yield difference


def _completions(execution: Execution, found: Found) -> int:
    """Completions of it in any state: one too many in another would be no less wrong."""
    return sum(n for (one, _), n in found.completions.items() if one == execution.execution_id)


def show(
    planned: list[Operation], performed: Performed, found: Found, differences: list[str]
) -> None:
    """Print the executions, the timeline of the first one, and what differs."""
    console = display.console()
    table = display.table(
        *("TENANT", "OPERATION", "STATE", "DURATION", "RESULT", "EXECUTION", "COMPLETIONS")
    )
    for operation in planned:
        execution = found.executions[performed[operation.title][0].execution_id]
        table.add_row(
            execution.tenant,
            execution.operation,
            execution.state.value,
            display.seconds(execution.duration_seconds),
            display.result(execution),
            execution.execution_id,
            str(_completions(execution, found)),
        )
    console.print(table)
    first = found.executions[performed[planned[0].title][0].execution_id]
    console.print(f"\nTimeline of {first.execution_id} ({planned[0].title})")
    console.print(_timeline(first, found.timeline))
    for difference in differences:
        console.print(f"DIFFERS  {difference}", markup=False)
    calls = sum(len(outcomes) for outcomes in performed.values())
    verdict = f"{len(differences)} differences" if differences else "each ended as it should"
    console.print(f"\n{len(planned)} executions by {calls} calls: {verdict}.")


def _timeline(execution: Execution, logs: list[LogEntry]) -> Table:
    """Transitions and log lines in the order in which they happened."""
    events = [
        (step.occurred_at, step.state.value, f"reported by {step.source}")
        for step in execution.transitions
    ] + [(entry.occurred_at, entry.stream or "log", entry.message) for entry in logs]
    table = display.table("TIME", "WHAT", "")
    for time, what, text in sorted(events, key=lambda event: (event[0] is None, event[0])):
        table.add_row(display.moment(time), what, text)
    if (progress := execution.progress) is not None:
        steps = f"step {progress.step} of {progress.steps}: " if progress.step else ""
        table.add_row("", "progress", f"{steps}{progress.message or ''}")
    return table
