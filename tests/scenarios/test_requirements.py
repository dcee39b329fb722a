"""Every scenario of the requirements by its name, against the real stack.

Events are published through the SDK; what is seen comes from the API or from a completion topic.
"""

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from conftest import StartService
from milepost.client import (
    Category,
    Commands,
    ExecutionHandle,
    LogLine,
    MilepostClient,
    Publisher,
    Resource,
    State,
    Subscriber,
)
from milepost.settings import Settings

TASK = Resource("ecs.task", "arn:aws:ecs:eu-west-1:1:task/web/1", region="eu-west-1")


@pytest.fixture(scope="module")
async def milepost(service: StartService) -> AsyncIterator[MilepostClient]:
    """The query API over a running processor."""
    api, _ = await service("api"), await service("processor")
    async with MilepostClient(api.ready["api"]) as client:
        yield client


@pytest.fixture(scope="module")
async def publisher(settings: Settings) -> AsyncIterator[Publisher]:
    """A provider's publisher."""
    async with Publisher(settings, source="/providers/ecs/eu-west-1") as publisher:
        yield publisher


@pytest.fixture
def tenant() -> str:
    """A tenant of this test's own."""
    return f"tenant-{uuid4().hex[:8]}"


async def seen(milepost: MilepostClient, run: ExecutionHandle, state: State) -> None:
    """Wait until the execution is seen in a state."""
    async for execution in milepost.updates(run.execution_id):
        if execution.state is state:
            return
    raise AssertionError(f"{run.execution_id} was over without having been {state}")


async def test_compute_operation_transitions_through_states(
    milepost: MilepostClient, publisher: Publisher, tenant: str
) -> None:
    run = await publisher.request(tenant, "provision", provider="ecs")
    await seen(milepost, run, State.PENDING)
    await run.started()
    await seen(milepost, run, State.RUNNING)
    await run.succeeded()
    execution = await milepost.wait(run.execution_id)
    assert [one.state for one in execution.transitions] == ["pending", "running", "succeeded"]


async def test_workflow_can_query_compute_execution_status(
    milepost: MilepostClient, publisher: Publisher, tenant: str
) -> None:
    run = await publisher.request(tenant, "provision", provider="ecs")
    await run.started()
    await run.progressed(percent=40, message="pulling image", step=2, steps=5)
    await run.failed("image_not_found", "no such image: web:7")
    await milepost.wait(run.execution_id)

    execution = await milepost.execution(run.execution_id)

    assert execution.state is State.FAILED
    assert execution.progress is not None
    assert (execution.progress.percent, execution.progress.message) == (40, "pulling image")
    assert execution.failure is not None
    assert execution.failure.message == "no such image: web:7"


async def test_compute_execution_history_is_retained(
    milepost: MilepostClient, publisher: Publisher, tenant: str
) -> None:
    run = await publisher.request(tenant, "provision", provider="ecs")
    await run.started()
    await run.succeeded()
    await milepost.wait(run.execution_id)

    history = await milepost.transitions(run.execution_id)

    assert [one.state for one in history] == ["pending", "running", "succeeded"]
    for one in history:
        assert one.occurred_at is not None
        assert one.reported_at is not None
        assert one.recorded_at is not None
        assert not one.skewed
    occurred = [one.occurred_at for one in history if one.occurred_at]
    assert occurred == sorted(occurred)


async def test_compute_execution_id_is_returned_immediately(
    milepost: MilepostClient, publisher: Publisher, settings: Settings, tenant: str
) -> None:
    async with Subscriber(
        settings, group=tenant, tenants={tenant}, start="earliest"
    ) as completions:
        accepted = await milepost.request(tenant, "provision", provider="ecs")
        assert accepted.state is State.PENDING
        # At once usable for queries, never unknown ...
        assert (await milepost.execution(accepted.execution_id)).state is State.PENDING
        # ... and for callbacks.
        await publisher.execution(tenant, accepted.execution_id).succeeded()
        completion = await anext(aiter(completions))
    assert completion.execution_id == accepted.execution_id


async def test_compute_execution_id_is_deterministic_for_idempotent_operations(
    milepost: MilepostClient, publisher: Publisher, settings: Settings, tenant: str
) -> None:
    async with Commands(settings) as commands:
        first = await milepost.request(tenant, "provision", provider="ecs", key="order-7")
        again = await milepost.request(tenant, "provision", provider="ecs", key="order-7")
        by_sdk = await publisher.request(tenant, "provision", provider="ecs", key="order-7")
        other = await publisher.request(tenant, "provision", provider="ecs", key="order-8")
        assert first.execution_id == again.execution_id == by_sdk.execution_id
        assert other.execution_id != first.execution_id

        # One operation, one command, however often it was asked for.
        started: list[str] = []
        async for command in commands:
            if command.tenant == tenant:
                started.append(command.execution_id)
            if other.execution_id in started and first.execution_id in started:
                break
    assert sorted(started) == sorted([first.execution_id, other.execution_id])
    executions = [one.execution_id async for one in milepost.executions(tenant)]
    assert sorted(executions) == sorted(started)


async def test_successful_compute_execution_returns_resource_ids(
    milepost: MilepostClient, publisher: Publisher, tenant: str
) -> None:
    run = await publisher.request(tenant, "provision", provider="ecs")
    await run.started()
    await run.succeeded(resources=[TASK, Resource("container", "c-1", attributes={"cpu": 2})])

    execution = await milepost.wait(run.execution_id)

    assert {(one.kind, one.id) for one in execution.resources} == {
        ("ecs.task", TASK.id),
        ("container", "c-1"),
    }
    of_tenant = await milepost.resources(tenant)
    assert {(one.kind, one.id, one.execution_id) for one in of_tenant} == {
        ("ecs.task", TASK.id, run.execution_id),
        ("container", "c-1", run.execution_id),
    }
    assert await milepost.resources(f"{tenant}-other") == []


async def test_failed_execution_includes_error_details(
    milepost: MilepostClient, publisher: Publisher, tenant: str
) -> None:
    run = await publisher.request(tenant, "provision", provider="ecs")
    await run.started(resources=[TASK])
    await run.failed(
        "quota_exceeded",
        "no more than 10 tasks",
        category=Category.REQUIRES_MANUAL_INTERVENTION,
        origin="provider",
        provider_code="LimitExceededException",
        details={"limit": 10},
        last_lines=["placing task", "limit exceeded"],
    )

    execution = await milepost.wait(run.execution_id)

    failure = execution.failure
    assert failure is not None
    assert (failure.code, failure.message) == ("quota_exceeded", "no more than 10 tasks")
    assert failure.category is Category.REQUIRES_MANUAL_INTERVENTION
    assert failure.provider_code == "LimitExceededException"
    assert failure.details == {"limit": 10}
    assert failure.last_lines == ("placing task", "limit exceeded")
    # What it left behind is part of the diagnosis.
    assert [one.id for one in execution.resources] == [TASK.id]


async def test_workflow_receives_notification_of_compute_completion(
    publisher: Publisher, milepost: MilepostClient, settings: Settings, tenant: str
) -> None:
    async with Subscriber(
        settings, group=tenant, tenants={tenant}, start="earliest"
    ) as completions:
        good = await publisher.request(tenant, "provision", key="good")
        bad = await publisher.request(tenant, "provision", key="bad")
        off = await publisher.request(tenant, "provision", key="off")
        await good.succeeded(outputs={"url": "https://web"})
        await bad.failed("broken", "it broke")
        await off.cancelled(reason="not needed")
        told = {}
        async for completion in completions:
            assert completion.execution_id not in told
            told[completion.execution_id] = completion
            if len(told) == 3:
                break
    assert told[good.execution_id].outputs == {"url": "https://web"}
    assert told[bad.execution_id].state is State.FAILED
    assert told[off.execution_id].cancellation is not None
    # What is notified can be acted upon: the projection says the same.
    assert (await milepost.execution(off.execution_id)).state is State.CANCELLED


async def test_long_running_compute_operations_are_queryable(
    milepost: MilepostClient, publisher: Publisher, tenant: str
) -> None:
    run = await publisher.request(tenant, "provision", provider="ecs")
    await run.started(resources=[TASK], details={"cluster": "web"})
    await run.progressed(
        percent=60,
        message="waiting for health",
        log_lines=[LogLine(message="container started"), LogLine(message="probe 1 of 3")],
    )
    async for execution in milepost.updates(run.execution_id):
        if execution.progress is not None:
            break

    assert execution.state is State.RUNNING
    assert execution.progress is not None
    assert execution.progress.percent == 60
    assert execution.details == {"cluster": "web"}
    assert [one.id for one in execution.resources] == [TASK.id]
    lines = [entry.message async for entry in milepost.logs(run.execution_id)]
    assert lines == ["container started", "probe 1 of 3"]


async def test_tenant_can_have_concurrent_compute_operations(
    milepost: MilepostClient, publisher: Publisher, tenant: str
) -> None:
    provision = await publisher.request(tenant, "provision", provider="ecs")
    update = await publisher.request(tenant, "update", provider="ecs")
    await provision.started()
    await update.started()
    await update.succeeded()
    await milepost.wait(update.execution_id)
    await seen(milepost, provision, State.RUNNING)
    await provision.failed("broken", "it broke")

    one = await milepost.wait(provision.execution_id)
    other = await milepost.wait(update.execution_id)

    assert one.execution_id != other.execution_id
    assert [step.state for step in one.transitions] == ["pending", "running", "failed"]
    assert [step.state for step in other.transitions] == ["pending", "running", "succeeded"]


async def test_execution_history_shows_all_operations_for_a_tenant(
    milepost: MilepostClient, publisher: Publisher, tenant: str
) -> None:
    runs = []
    for operation in ("provision", "update", "rollback"):
        run = await publisher.request(tenant, operation, provider="ecs")
        await seen(milepost, run, State.PENDING)
        runs.append(run)
    await runs[0].succeeded()
    await runs[1].failed("broken", "it broke")
    await runs[2].cancelled()
    for run in runs:
        await milepost.wait(run.execution_id)

    history = [one async for one in milepost.executions(tenant, page_size=2)]

    assert [(one.execution_id, one.operation, one.state) for one in history] == [
        (runs[0].execution_id, "provision", "succeeded"),
        (runs[1].execution_id, "update", "failed"),
        (runs[2].execution_id, "rollback", "cancelled"),
    ]
