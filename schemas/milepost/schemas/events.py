"""What providers and callers report: the data of the seven event types, version 1."""

from typing import Annotated, ClassVar, Final, Self

from pydantic import BaseModel, Field, model_validator

from milepost.schemas import identifiers
from milepost.schemas.values import (
    CONTRACT,
    MAX_LOG_LINES,
    MAX_RESOURCES,
    Digest,
    Expectations,
    Failure,
    IdempotencyKey,
    JsonObject,
    Labels,
    Links,
    LogLine,
    Name,
    Parameters,
    Progress,
    Reference,
    Resource,
    Text,
    Timestamp,
    Word,
)

# Fail fast: one error is enough to refuse a record, and to list 300,000 takes seconds.
Resources = Annotated[tuple[Resource, ...], Field(max_length=MAX_RESOURCES, fail_fast=True)]
LogLines = Annotated[tuple[LogLine, ...], Field(max_length=MAX_LOG_LINES, fail_fast=True)]


class EventData(BaseModel):
    """What every event carries: when it happened, as the publisher saw it."""

    model_config = CONTRACT
    type: ClassVar[str]
    occurred_at: Timestamp


class Requested(EventData):
    """Somebody asks for an operation. Its execution id must recompute from this data.

    `parameters_digest` (hex SHA-256 of the canonical parameters) stands in for `parameters` that are
    not to be told, and needs an `idempotency_key`.
    """

    type: ClassVar[str] = "milepost.execution.requested.v1"
    operation: Word = Field(
        description="What is asked for: `provision`, `update`, `rollback`, `deprovision`, or another word."
    )
    provider: Word | None = Field(None, description="Who is to do it.")
    parameters: Parameters | None = Field(None, description="What it is to be done with.")
    parameters_digest: Digest | None = Field(
        None, description="Hex SHA-256 of the canonical parameters, in their place."
    )
    idempotency_key: IdempotencyKey | None = Field(
        None, description="The same key is the same execution of this tenant and operation."
    )
    labels: Labels | None = Field(None, description="Names and values to find it by.")
    links: Links | None = Field(None, description="How it relates to others.")
    expectations: Expectations | None = Field(
        None, description="How long it may take, and be silent."
    )
    requested_by: Name | None = Field(None, description="Who asks, for people.")

    @model_validator(mode="after")
    def _identity_is_complete(self) -> Self:
        if self.parameters_digest is not None:
            if self.parameters is not None:
                raise ValueError("send parameters or parameters_digest, not both")
            if self.idempotency_key is None:
                raise ValueError("idempotency_key is required with parameters_digest")
        return self

    def execution_id(self, tenant: str) -> str:
        """The id that this request has for `tenant`."""
        return identifiers.execution_id(
            tenant,
            self.operation,
            key=self.idempotency_key,
            provider=self.provider,
            parameters=self.parameters,
            links=self.set_links(),
        )

    def fingerprint(self) -> str:
        """What must be the same when the idempotency key is used again."""
        digest = self.parameters_digest or identifiers.parameters_digest(self.parameters)
        return identifiers.fingerprint(self.provider, digest, self.set_links())

    def set_links(self) -> dict[str, str]:
        """The links that are set, by name."""
        return self.links.model_dump(exclude_none=True) if self.links else {}


class Started(EventData):
    """The provider has begun."""

    type: ClassVar[str] = "milepost.execution.started.v1"
    resources: Resources | None = Field(None, description="What it has.")
    details: JsonObject | None = Field(None, description="What the provider says of it.")


class Progressed(EventData):
    """The provider is at it: how far, with what, and what it logs."""

    type: ClassVar[str] = "milepost.execution.progressed.v1"
    progress: Progress | None = Field(None, description="How far it is.")
    resources: Resources | None = Field(None, description="What it has by now.")
    log_lines: LogLines | None = Field(None, description="Lines of its log since the last event.")
    log_link: Reference | None = Field(None, description="Where its whole log is.")


class Succeeded(EventData):
    """The operation is done."""

    type: ClassVar[str] = "milepost.execution.succeeded.v1"
    resources: Resources | None = Field(None, description="What it made, changed or released.")
    outputs: JsonObject | None = Field(None, description="What it gives back.")


class Failed(EventData):
    """The operation ended without success; `resources` are what was left behind."""

    type: ClassVar[str] = "milepost.execution.failed.v1"
    failure: Failure = Field(description="Why.")
    resources: Resources | None = Field(None, description="What was left behind.")


class Cancelled(EventData):
    """The operation was called off."""

    type: ClassVar[str] = "milepost.execution.cancelled.v1"
    reason: Text | None = Field(None, description="Why.")
    requested_by: Name | None = Field(None, description="Who wanted it.")
    resources: Resources | None = Field(None, description="What was left behind.")


class CancellationRequested(EventData):
    """Somebody wants the operation called off; the state stays until the provider reports."""

    type: ClassVar[str] = "milepost.execution.cancellation_requested.v1"
    reason: Text | None = Field(None, description="Why.")
    requested_by: Name | None = Field(None, description="Who wants it.")


EVENTS: Final[dict[str, type[EventData]]] = {
    data.type: data
    for data in (
        Requested, Started, Progressed, Succeeded, Failed, Cancelled, CancellationRequested,
    )
}  # fmt: skip
