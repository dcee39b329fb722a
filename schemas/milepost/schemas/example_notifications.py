"""Example notifications: what Milepost sends out of the example events, had they come one by one.

Put together here, because the contract does not fold; a test folds the events and compares.
"""

from collections.abc import Iterator
from typing import Any, Final

import pydantic_core

from milepost.schemas.binding import BINARY, Encoded
from milepost.schemas.examples import TENANT, TRACEPARENT, Example, examples
from milepost.schemas.identifiers import outgoing_id
from milepost.schemas.notifications import (
    COMMAND_TYPE,
    COMPLETION_TYPE,
    SOURCE,
    Command,
    Completion,
    RequestFacts,
    Transition,
    ViewedResource,
)
from milepost.schemas.values import State

# The story of these: requested, started, then at work, then failed.
STORY: Final = (
    "requested.v1/with_key.binary", "started.v1/binary", "progressed.v1/binary", "failed.v1/binary",
)  # fmt: skip


def story() -> Iterator[Example]:
    """The example events that lead to these notifications, in their order."""
    found = {f"{example.type}/{example.name}": example for example in examples()}
    return (found[f"milepost.execution.{name}"] for name in STORY)


def notifications() -> Iterator[Example]:
    """The command to start, and the completion."""
    requested, started, progressed, failed = (example.document() for example in story())
    request = requested["value"]
    facts: dict[str, Any] = {
        "parameters_digest": None,
        **{name: value for name, value in request.items() if name in RequestFacts.model_fields},
        "execution_id": requested["key"],
        "tenant": TENANT,
    }
    event_id = requested["headers"]["ce_id"]
    start = Command(
        id=outgoing_id(TENANT, requested["key"], "start", 1),
        command="start",
        event_id=event_id,
        **facts,
    )
    yield _example(COMMAND_TYPE.format(command="start"), start, requested, exclude_unset=True)

    ends = failed["value"]
    [resource] = ends["resources"]
    completion = Completion(
        id=outgoing_id(TENANT, requested["key"], State.FAILED, 4),
        state=State.FAILED,
        version=4,
        requested=True,
        requested_by=request["requested_by"],
        command_event_id=event_id,
        progress=progressed["value"]["progress"],
        log_link=progressed["value"]["log_link"],
        details=started["value"]["details"],
        resources=(
            ViewedResource(
                **resource, provider=request["provider"], occurred_at=ends["occurred_at"]
            ),
        ),
        failure=ends["failure"],
        transitions=(
            _transition(State.PENDING, requested, 0),
            _transition(State.RUNNING, started, 1),
            _transition(State.FAILED, failed, 3),
        ),
        requested_at=request["occurred_at"],
        started_at=started["value"]["occurred_at"],
        ended_at=ends["occurred_at"],
        duration_seconds=50,
        first_recorded_at=requested["headers"]["ce_time"],
        recorded_at=failed["headers"]["ce_time"],
        **facts,
    )
    # What only the API judges, and what only a code of the catalogue has, is not sent.
    left_out = {"silent_since": True, "overdue_since": True, "failure": {"next_step"}}
    yield _example(COMPLETION_TYPE.format(state="failed"), completion, failed, exclude=left_out)


def _transition(state: State, event: dict[str, Any], offset: int) -> Transition:
    headers = event["headers"]
    return Transition(
        state=state,
        occurred_at=event["value"]["occurred_at"],
        reported_at=headers["ce_time"],
        # The broker had it in no time.
        recorded_at=headers["ce_time"],
        event_id=headers["ce_id"],
        source=headers["ce_source"],
        partition=0,
        offset=offset,
    )


def _example(type_: str, body: Command | Completion, cause: dict[str, Any], **dump: Any) -> Example:
    headers = {
        "ce_specversion": "1.0",
        "ce_id": body.id,
        "ce_source": SOURCE,
        "ce_type": type_,
        "ce_time": cause["headers"]["ce_time"],
        "ce_subject": body.execution_id,
        "ce_tenantid": body.tenant,
        "content-type": BINARY.decode(),
        "ce_traceparent": TRACEPARENT,
    }
    record = Encoded(
        body.execution_id.encode(),
        pydantic_core.to_json(body.model_dump(mode="json", **dump)),
        [(name, text.encode()) for name, text in headers.items()],
    )
    return Example(type_, "binary", record)
