"""The shapes of the API's answers, for OpenAPI. Answers themselves are built as bytes."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from milepost.schemas.events import Requested
from milepost.schemas.notifications import Execution, Transition, ViewedResource
from milepost.schemas.values import (
    CONTRACT,
    ExecutionId,
    Expectations,
    Labels,
    Level,
    Links,
    Name,
    Parameters,
    State,
    Text,
    Word,
)


class ExecutionRequest(BaseModel):
    """Ask for an operation. Without an Idempotency-Key the id comes from operation, provider,
    parameters and links, so that the same request again names the same execution."""

    model_config = CONTRACT
    operation: Word = Field(examples=["provision"])
    provider: Word | None = Field(None, examples=["ecs"])
    parameters: Parameters | None = Field(None, examples=[{"cpu": 256}])
    labels: Labels | None = None
    links: Links | None = None
    expectations: Expectations | None = None
    requested_by: Name | None = None

    def event(self, key: str | None, now: datetime) -> Requested:
        """The event that makes this request known."""
        return Requested(occurred_at=now, idempotency_key=key, **dict(self))


class CancellationRequest(BaseModel):
    """Why an execution should be called off, and who says so."""

    model_config = CONTRACT
    reason: Text | None = None
    requested_by: Name | None = None


class Lag(BaseModel):
    """How far behind the answer may be: `records` were not folded yet at `measured_at`,
    `age_seconds` ago. All are null until a processor has reported."""

    records: int | None
    measured_at: datetime | None
    age_seconds: float | None


class Freshness(BaseModel):
    """How current an answer is."""

    lag: Lag


class ExecutionAnswer(Execution):
    """One execution. `version` is 0 until the fold has the request."""

    freshness: Freshness


class StreamedExecution(ExecutionAnswer):
    """One execution in a stream. `completion_id`: the id of its completion, where it has just ended;
    null in any other event."""

    completion_id: str | None


class RecordedTransition(Transition):
    """A transition, and the path of the raw record that brought it, null before there is one."""

    record: str | None


class ExecutionPart(BaseModel):
    """What every answer about a part of an execution says of the whole: which version of it this is
    of, and when the broker got the newest record of it that is folded."""

    execution_id: str
    version: int
    recorded_at: datetime
    freshness: Freshness


class Transitions(ExecutionPart):
    """The states that an execution has been in, in their order."""

    items: list[RecordedTransition]


class ExecutionEvent(BaseModel):
    """One raw record of an execution, and what the fold did with it and why."""

    ordinal: int
    topic: str
    partition: int
    offset: int
    type: str
    source: str
    event_id: str
    disposition: str = Field(examples=["applied", "late", "duplicate", "stale", "conflicting"])
    reason: str | None
    occurred_at: datetime
    recorded_at: datetime


class EmittedRecord(BaseModel):
    """What went out because of a record."""

    topic: str
    type: str | None
    id: str | None
    key: str | None
    headers: dict[str, str | None]
    value: str | None


class ExplainedRecord(BaseModel):
    """One raw record, what the fold did with it, and why in a sentence.

    `transition` is the state that it brought the execution into. Key, headers and value are as they
    came; bytes that are not UTF-8 are written as backslashes and hexadecimal digits.
    """

    topic: str
    partition: int
    offset: int
    disposition: str
    reason: str | None
    why: str
    tenant: str | None
    execution_id: str | None
    ordinal: int | None
    transition: State | None
    occurred_at: datetime | None
    reported_at: datetime | None
    recorded_at: datetime
    skewed: bool
    event: dict[str, Any] | None
    emitted: list[EmittedRecord]
    key: str | None
    headers: list[tuple[str, str | None]]
    value: str | None
    value_bytes: int
    sha256: str


class Page(BaseModel):
    """What every page has: `next_page_token` is null on the last one."""

    next_page_token: str | None
    freshness: Freshness


class ArchivedMonth(BaseModel):
    """A month of the log that is kept in a file, and the file's SHA-256."""

    month: str = Field(examples=["2019-08"])
    file: str = Field(examples=["event_log_2019_08.jsonl.gz"])
    sha256: str


class Archived(BaseModel):
    """What of an execution is not in the log any more: so many records, in one of these months or
    several."""

    records: int
    months: list[ArchivedMonth]


class ExecutionEvents(ExecutionPart, Page):
    """A page of records, in the order in which they were folded.

    `archived` says what is not among them because its month was archived; null where all are here.
    """

    archived: Archived | None
    items: list[ExecutionEvent]


class LogEntry(BaseModel):
    """One log line. `occurred_at` is the event's where the line has none."""

    ordinal: int
    occurred_at: datetime
    level: Level
    stream: str | None
    message: str
    event_id: str
    partition: int
    offset: int


class Logs(ExecutionPart, Page):
    """A page of log lines, in the order in which they were folded.

    `follow_token` is the `page_token` of what comes after the last line here, there already or not;
    null before the first line. Nothing comes where `state` is terminal and there is no next page, but
    for what a provider reports late. With `level` a page may have fewer lines than there is room for.
    `archived` says which records, and the lines in them, are not here because their month was archived.
    """

    state: State
    follow_token: str | None
    archived: Archived | None
    items: list[LogEntry]


class ExecutionResources(ExecutionPart):
    """The resources of an execution, as it last reported them."""

    items: list[ViewedResource]


class Executions(Page):
    """A page of a tenant's executions, in the order of their first recorded times."""

    items: list[Execution]


class ExecutionIds(BaseModel):
    """Executions to look up; an id that is there twice counts once."""

    model_config = CONTRACT
    ids: list[ExecutionId] = Field(
        min_length=1, max_length=500, examples=[["2f5d9f0e-5f5c-5c55-8a53-0b7a8f2e0f11"]]
    )


class FoundExecutions(BaseModel):
    """The executions that were looked up, in the order of the ids; the ids that name none; and those to
    ask for again, because their executions did not fit into one answer of 16 MiB."""

    items: list[Execution]
    unknown: list[str]
    left_out: list[str]
    freshness: Freshness


class PublishedEvent(BaseModel):
    """An event that the broker has, and where in the log it is."""

    execution_id: str
    tenant: str
    event_id: str
    partition: int
    offset: int


class PublishedEvents(BaseModel):
    """The events that were published, in their order."""

    items: list[PublishedEvent]


class Latest(BaseModel):
    """The latest execution to reach a state."""

    execution_id: str
    ended_at: datetime


class LatestFailure(Latest):
    """The latest execution to fail, and why it did."""

    code: str | None
    message: str | None


class Counts(BaseModel):
    """Executions by state."""

    pending: int
    running: int
    succeeded: int
    failed: int
    cancelled: int


class TenantSummary(BaseModel):
    """What a tenant has; all zero where nothing is known of it.

    `in_flight`: pending and running. `resources_in_use`: those whose last report, by whichever
    execution, does not say that they are released.
    """

    tenant: str
    executions: Counts
    last_success: Latest | None
    in_flight: int
    last_failure: LatestFailure | None
    resources_in_use: int
    freshness: Freshness


class ReportedResource(BaseModel):
    """A resource, and the execution that reports it with its operation and state."""

    tenant: str
    execution_id: str
    operation: str | None
    state: State
    kind: str
    id: str
    provider: str | None
    region: str | None
    status: str | None
    released: bool
    attributes: dict[str, Any] | None
    occurred_at: datetime
    recorded_at: datetime


class Resources(Page):
    """A page of resources, in the order of provider, region, kind and id."""

    items: list[ReportedResource]


class ResourceStep(ReportedResource):
    """What an execution did with a resource. `made`: it is the first one known to report it, or the
    first one after its release."""

    action: Literal["made", "changed", "released"]


class ResourceHistory(Page):
    """A page of what became of a resource, in the order of the last report of each execution on it."""

    items: list[ResourceStep]


class LinkedExecution(BaseModel):
    """An execution at the other end of a link; what is not known of it is null."""

    relation: str = Field(examples=["retry_of"])
    execution_id: str
    operation: str | None
    state: State | None


class ExecutionLinks(ExecutionPart, Page):
    """The executions that one names in its links, and a page of those that name it in theirs, in the
    order of their first recorded times."""

    workflow_id: str | None
    outgoing: list[LinkedExecution]
    incoming: list[LinkedExecution]


class Check(BaseModel):
    """One thing that readiness depends on."""

    ok: bool
    detail: str | None = None


class Health(BaseModel):
    """That this process lives."""

    status: Literal["ok"]


class Readiness(BaseModel):
    """Whether this process can serve, and which check says no."""

    ready: bool
    checks: dict[str, Check]
