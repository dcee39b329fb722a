"""What Milepost sends out: the view of an execution, completions and commands.

The same view is what the HTTP API answers with. All times are RFC 3339 in UTC.
"""

from datetime import datetime
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict

from milepost.schemas.values import Failure, Progress, State

# Consumers must live with members that a later version adds.
OPEN: Final = ConfigDict(extra="ignore", frozen=True)


class ViewedResource(BaseModel):
    """A resource as last reported within one execution."""

    model_config = OPEN
    kind: str
    id: str
    provider: str | None = None
    region: str | None = None
    status: str | None = None
    released: bool = False
    attributes: dict[str, Any] | None = None
    occurred_at: datetime


class Transition(BaseModel):
    """How an execution came into a state: its three times, the event, and where its record is.

    `occurred_at` is null while the transition is only inferred from a later event; `skewed` says that
    the times disagree by more than five minutes.
    """

    model_config = OPEN
    state: State
    occurred_at: datetime | None
    reported_at: datetime | None
    recorded_at: datetime | None
    inferred: bool = False
    skewed: bool = False
    event_id: str | None
    source: str | None
    partition: int | None
    offset: int | None


class Cancellation(BaseModel):
    """Who called an execution off, or wants to, and why."""

    model_config = OPEN
    reason: str | None = None
    requested_by: str | None = None
    occurred_at: datetime


class Conflict(BaseModel):
    """An event that contradicts what is sealed."""

    model_config = OPEN
    type: str
    reason: str
    event_id: str
    source: str
    occurred_at: datetime


class ViewedFailure(Failure):
    """Why an execution failed. `next_step`: what the catalogue says to do where it knows the code.

    The stored event is as it was reported: `next_step` is added when the view is made.
    """

    model_config = OPEN
    next_step: str | None = None


class RequestFacts(BaseModel):
    """Which execution it is, whose, and what its `requested` event asked for."""

    model_config = OPEN
    execution_id: str
    tenant: str
    operation: str | None = None
    provider: str | None = None
    idempotency_key: str | None = None
    parameters: dict[str, Any] | None = None
    parameters_digest: str | None = None
    labels: dict[str, str] = {}
    links: dict[str, str] = {}
    expectations: dict[str, float] = {}


class Execution(RequestFacts):
    """The whole view of one execution.

    `version` grows with each change of state or facts. `requested` is false while the event that
    asked for the execution has not come yet: operation, labels and links may then be unknown.
    `duration_seconds` runs from the first known to the terminal transition. Only a notification that
    would not fit in a record leaves something out: `resources_omitted` says how many resources,
    `omitted` which members; the API has them.

    Only the API judges an execution that is not over, by its clock: `silent_since`, when its last
    event had been longer ago than its heartbeat allows (`expectations.heartbeat_seconds`, else its
    provider's); `overdue_since`, when `expectations.duration_seconds` had passed since its first.
    """

    state: State
    version: int
    requested: bool
    requested_by: str | None = None
    command_event_id: str | None = None
    progress: Progress | None = None
    log_link: str | None = None
    details: dict[str, Any] | None = None
    resources: tuple[ViewedResource, ...] = ()
    resources_omitted: int = 0
    omitted: tuple[str, ...] = ()
    outputs: dict[str, Any] | None = None
    failure: ViewedFailure | None = None
    cancellation_requested: Cancellation | None = None
    cancellation: Cancellation | None = None
    conflicts: tuple[Conflict, ...] = ()
    transitions: tuple[Transition, ...] = ()
    requested_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    duration_seconds: float | None = None
    first_recorded_at: datetime
    recorded_at: datetime
    silent_since: datetime | None = None
    overdue_since: datetime | None = None


class Completion(Execution):
    """An execution reached a terminal state: `id` is the same for every copy of this notification."""

    id: str


class Command(RequestFacts):
    """Work for a provider that takes it from Milepost. Start only on `start`.

    `event_id` is the id of the event that caused the command: a caller whose own request has another
    id follows the existing execution instead. `omitted` names what did not fit; the API has it.
    """

    id: str
    command: Literal["start", "cancel"]
    event_id: str
    reason: str | None = None
    requested_by: str | None = None
    omitted: tuple[str, ...] = ()


COMPLETION_TYPE: Final = "milepost.completion.{state}.v1"
COMMAND_TYPE: Final = "milepost.command.{command}.v1"
QUARANTINE_TYPE: Final = "milepost.quarantine.v1"
# What Milepost reports, it reports as this.
SOURCE: Final = "/milepost"
