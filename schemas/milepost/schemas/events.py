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
    operation: Word
    provider: Word | None = None
    parameters: Parameters | None = None
    parameters_digest: Digest | None = None
    idempotency_key: IdempotencyKey | None = None
    labels: Labels | None = None
    links: Links | None = None
    expectations: Expectations | None = None
    requested_by: Name | None = None

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
    resources: Resources | None = None
    details: JsonObject | None = None


class Progressed(EventData):
    """The provider is at it: how far, with what, and what it logs."""

    type: ClassVar[str] = "milepost.execution.progressed.v1"
    progress: Progress | None = None
    resources: Resources | None = None
    log_lines: LogLines | None = None
    log_link: Reference | None = None


class Succeeded(EventData):
    """The operation is done."""

    type: ClassVar[str] = "milepost.execution.succeeded.v1"
    resources: Resources | None = None
    outputs: JsonObject | None = None


class Failed(EventData):
    """The operation ended without success; `resources` are what was left behind."""

    type: ClassVar[str] = "milepost.execution.failed.v1"
    failure: Failure
    resources: Resources | None = None


class Cancelled(EventData):
    """The operation was called off."""

    type: ClassVar[str] = "milepost.execution.cancelled.v1"
    reason: Text | None = None
    requested_by: Name | None = None
    resources: Resources | None = None


class CancellationRequested(EventData):
    """Somebody wants the operation called off; the state stays until the provider reports."""

    type: ClassVar[str] = "milepost.execution.cancellation_requested.v1"
    reason: Text | None = None
    requested_by: Name | None = None


EVENTS: Final[dict[str, type[EventData]]] = {
    data.type: data
    for data in (
        Requested, Started, Progressed, Succeeded, Failed, Cancelled, CancellationRequested,
    )
}  # fmt: skip
