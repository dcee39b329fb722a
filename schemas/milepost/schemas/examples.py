"""Example records, one story: a web service on ECS that is provisioned, fails, is retried, is called off.

Published beside the JSON Schemas; times and ids are fixed, so the examples only change with the contract.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

import pydantic_core

from milepost.schemas.binding import STRUCTURED, Encoded, encode
from milepost.schemas.events import (
    CancellationRequested,
    Cancelled,
    EventData,
    Failed,
    Progressed,
    Requested,
    Started,
    Succeeded,
)
from milepost.schemas.identifiers import parameters_digest
from milepost.schemas.values import (
    Category,
    Expectations,
    Failure,
    Level,
    Links,
    LogLine,
    Origin,
    Progress,
    Resource,
)

TENANT: Final = "acme"
SOURCE: Final = "/providers/ecs/eu-west-1"
BEGIN: Final = datetime(2026, 1, 15, 9, 30, tzinfo=UTC)
TRACEPARENT: Final = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TASK: Final = "arn:aws:ecs:eu-west-1:123456789012:task/web/0f9de17a6465404e8b1b2356dc13c2f8"
PARAMETERS: Final[dict[str, Any]] = {
    "cluster": "web",
    "image": "shop:1.4.2",
    "cpu": 512,
    "memory": 1024,
    "scale": 1.5,
    "environment": {"LOCALE": "de-CH"},
}


class Example(NamedTuple):
    """A record of the events topic under a name."""

    type: str
    name: str
    record: Encoded

    def document(self) -> dict[str, Any]:
        """The record as published: key and headers as text, the value as the JSON that it is."""
        return {
            "key": self.record.key.decode(),
            "headers": {name: value.decode() for name, value in self.record.headers},
            "value": pydantic_core.from_json(self.record.value),
        }


def _at(seconds: int) -> datetime:
    return BEGIN + timedelta(seconds=seconds)


def _requests() -> dict[str, Requested]:
    with_key = Requested(
        occurred_at=_at(0),
        operation="provision",
        provider="ecs",
        parameters=PARAMETERS,
        idempotency_key="order-7",
        labels={"team": "shop"},
        links=Links(workflow_id="checkout-7"),
        expectations=Expectations(heartbeat_seconds=60, duration_seconds=900),
        requested_by="workflows",
    )
    without_key = Requested(
        occurred_at=_at(0), operation="update", provider="ecs", parameters=PARAMETERS
    )
    digest = Requested(
        occurred_at=_at(0),
        operation="provision",
        provider="ecs",
        parameters_digest=parameters_digest(PARAMETERS),
        idempotency_key="order-8",
    )
    retry = Requested(
        occurred_at=_at(600),
        operation="update",
        provider="ecs",
        parameters=PARAMETERS,
        links=Links(retry_of=without_key.execution_id(TENANT)),
    )
    return {
        "with_key": with_key,
        "without_key": without_key,
        "parameters_digest": digest,
        "retry": retry,
    }


def _reports() -> list[EventData]:
    starting = Resource("ecs.task", TASK, region="eu-west-1", status="provisioning")
    running = Resource(
        "ecs.task",
        TASK,
        region="eu-west-1",
        status="running",
        attributes={"private_ip": "10.0.12.7"},
    )
    failure = Failure(
        code="image_pull_failed",
        message="The image shop:1.4.2 could not be pulled",
        category=Category.RETRIABLE,
        origin=Origin.PROVIDER,
        provider_code="CannotPullContainerError",
        details={"exit_code": None, "attempts": 3},
        last_lines=("pulling shop:1.4.2", "timeout while connecting"),
    )
    return [
        Started(occurred_at=_at(5), resources=(starting,), details={"capacity": "FARGATE_SPOT"}),
        Progressed(
            occurred_at=_at(20),
            progress=Progress(percent=40, message="pulling the image", step=2, steps=5),
            resources=(starting,),
            log_lines=(
                LogLine(message="pulling shop:1.4.2", stream="stdout", occurred_at=_at(19)),
                LogLine(message="slow connection", level=Level.WARNING),
            ),
            log_link="https://logs.example/web/0f9de17a",
        ),
        Succeeded(
            occurred_at=_at(45), resources=(running,), outputs={"url": "https://shop.example"}
        ),
        Failed(occurred_at=_at(50), failure=failure, resources=(starting,)),
        CancellationRequested(
            occurred_at=_at(30), reason="wrong image", requested_by="someone@acme.example"
        ),
        Cancelled(
            occurred_at=_at(40),
            reason="wrong image",
            requested_by="someone@acme.example",
            resources=(Resource("ecs.task", TASK, region="eu-west-1", status="released"),),
        ),
    ]


def examples() -> Iterator[Example]:
    """Every example: each event in binary and in structured mode."""
    requests = _requests()
    execution = requests["with_key"].execution_id(TENANT)
    named: list[tuple[str, EventData, str]] = [
        *((f"{name}.", data, data.execution_id(TENANT)) for name, data in requests.items()),
        *(("", data, execution) for data in _reports()),
    ]
    for number, (prefix, data, subject) in enumerate(named, start=1):
        record = encode(
            data,
            tenant=TENANT,
            execution_id=subject,
            source="/workflows" if isinstance(data, Requested) else SOURCE,
            reported=data.occurred_at + timedelta(milliseconds=250),
            event_id=f"00000000-0000-4000-8000-{number:012}",
            sequence=number,
            traceparent=TRACEPARENT,
        )
        yield Example(data.type, f"{prefix}binary", record)
        yield Example(data.type, f"{prefix}structured", structured(record))


def structured(record: Encoded) -> Encoded:
    """The same event in structured mode: attributes and data in the value."""
    envelope: dict[str, Any] = {
        name.removeprefix("ce_"): value.decode()
        for name, value in record.headers
        if name.startswith("ce_")
    }
    envelope |= {
        "datacontenttype": "application/json",
        "data": pydantic_core.from_json(record.value),
    }
    value = pydantic_core.to_json(envelope)
    return Encoded(record.key, value, [("content-type", STRUCTURED + b"; charset=UTF-8")])
