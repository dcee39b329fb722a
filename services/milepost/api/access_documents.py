"""What the routes for keys and for the audit are asked and what they answer, for OpenAPI."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field, StringConstraints

from milepost.api.access import GRANT_PATTERN
from milepost.api.parameters import TimeInQuery
from milepost.schemas.values import CONTRACT, Name, Word


class ApiKeyRequest(BaseModel):
    """Make a key that may do this."""

    model_config = CONTRACT
    name: Name = Field(examples=["nightly deploy"])
    grants: list[Annotated[str, StringConstraints(pattern=GRANT_PATTERN)]] = Field(
        min_length=1, max_length=100, examples=[["acme:publisher", "acme:reader"]]
    )
    providers: list[Word] | None = Field(
        None, min_length=1, max_length=100, description="Only for these providers."
    )
    expires_at: TimeInQuery | None = None


class ApiKey(BaseModel):
    """An API key, without its secret. `prefix` is what its token begins with; `grants` are
    `tenant:role`, the tenant `*` stands for all."""

    key_id: str
    prefix: str
    name: str
    grants: list[str]
    providers: list[str] | None
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None
    revoked_by: str | None
    last_used_at: datetime | None


class NewApiKey(ApiKey):
    """A new API key; `token` is shown this once."""

    token: str


class ApiKeys(BaseModel):
    """A page of API keys, the newest first."""

    items: list[ApiKey]
    next_page_token: str | None


class Audited(BaseModel):
    """One write, or one refusal, with the status that was answered.

    `tenant` is null where it is nobody's, or was asked for by somebody who may not know of it.
    `left_out`: refusals before this one that were not kept.
    """

    at: datetime
    audit_id: str
    tenant: str | None
    principal: str
    action: str = Field(examples=["cancel_execution"])
    target: str
    status: int
    address: str
    request_id: str
    left_out: int


class AuditPage(BaseModel):
    """A page of the audit, the newest first."""

    items: list[Audited]
    next_page_token: str | None
