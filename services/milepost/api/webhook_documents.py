"""What the webhook routes are asked and what they answer, for OpenAPI."""

from datetime import datetime
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, Field, SecretStr

from milepost.api.documents import Page
from milepost.api.parameters import TimeInQuery
from milepost.projections.endpoints import Status
from milepost.schemas.values import CONTRACT, Name, Reference, Word
from milepost.schemas.webhooks import SECRET_BYTES, SECRET_PREFIX, signing_key

MAX_OPERATIONS: Final = 64
DAY: Final = 86_400
# What a secret can be after it was replaced: nobody needs a week to change one.
MAX_OVERLAP_SECONDS: Final = 7 * DAY

Ended = Literal["succeeded", "failed", "cancelled"]
# What was sent, or given up, can be sent again.
EndedStatus = Literal["delivered", "failed", "cancelled"]


def _is_secret(value: SecretStr) -> SecretStr:
    signing_key(value.get_secret_value())
    return value


Url = Annotated[
    Reference,
    Field(
        description="Where messages are posted to: https, no user or password, no fragment.",
        examples=["https://example.com/milepost"],
    ),
]
States = Annotated[
    frozenset[Ended],
    Field(min_length=1, description="Which ends of executions it is told of; by default all."),
]
Operations = Annotated[
    frozenset[Word],
    Field(min_length=1, max_length=MAX_OPERATIONS, examples=[["provision", "update"]]),
]
Secret = Annotated[
    SecretStr,
    AfterValidator(_is_secret),
    Field(
        description=f"A signing secret of your own: `{SECRET_PREFIX}` and the base64 of "
        f"{SECRET_BYTES[0]} to {SECRET_BYTES[-1]} bytes. By default a random one is made.",
    ),
]


class WebhookRequest(BaseModel):
    """An endpoint to be told of completions. `operations` null: whatever the operation."""

    model_config = CONTRACT
    url: Url
    description: Name | None = Field(None, examples=["billing"])
    states: States = Field(frozenset(("succeeded", "failed", "cancelled")), examples=[["failed"]])
    operations: Operations | None = None
    secret: Secret | None = None


class WebhookChange(BaseModel):
    """What to change; what is absent stays. `description` and `operations` may be taken away (null).

    `enabled` false: nothing is sent any more, and what was waiting is cancelled.
    """

    model_config = CONTRACT
    # The defaults are never used, and null is no value here: what counts is whether it was set.
    url: Url = Field(default_factory=str)
    description: Name | None = None
    states: States = Field(default_factory=frozenset)
    operations: Operations | None = None
    enabled: bool = Field(default_factory=bool, strict=True)


class SecretRotation(BaseModel):
    """A new secret. Those it replaces stay valid for `overlap_seconds`: each message is signed with
    all valid ones, so that the receiver can change over meanwhile. 0 ends them at once."""

    model_config = CONTRACT
    overlap_seconds: int = Field(DAY, ge=0, le=MAX_OVERLAP_SECONDS, strict=True)
    secret: Secret | None = None


class Redelivery(BaseModel):
    """What to send again: the deliveries of an endpoint that were created from `since` on, and
    earlier than `before`, and ended in one of the `statuses`."""

    model_config = CONTRACT
    since: TimeInQuery = Field(examples=["2026-01-01T00:00:00Z"])
    before: TimeInQuery | None = None
    statuses: Annotated[frozenset[EndedStatus], Field(min_length=1)] = Field(
        frozenset(("failed", "cancelled")),
        description="By default what did not arrive.",
        examples=[["failed", "cancelled"]],
    )


class Webhook(BaseModel):
    """An endpoint. `disabled_reason`: asked, gone (it answered 410) or failing; then nothing is sent.

    `failing_since`: nothing sent to it has arrived since; null once something has.
    """

    endpoint_id: str
    url: str
    description: str | None
    states: list[Ended]
    operations: list[str] | None
    enabled: bool
    disabled_at: datetime | None
    disabled_reason: str | None = Field(examples=["failing"])
    failing_since: datetime | None
    created_at: datetime
    updated_at: datetime


class NewWebhook(Webhook):
    """An endpoint that was just made, with the secret that its messages are signed with."""

    secret: str = Field(examples=["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo="])


class Webhooks(BaseModel):
    """A page of endpoints, the oldest first."""

    items: list[Webhook]
    next_page_token: str | None


class WebhookSecret(BaseModel):
    """The newest signing secret, and until when one that it replaced is valid, null where none is."""

    endpoint_id: str
    secret: str = Field(examples=["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo="])
    created_at: datetime
    replaced_valid_until: datetime | None


class LastAttempt(BaseModel):
    """The last attempt to send: the status of the answer, or why there was none."""

    attempted_at: datetime
    status_code: int | None
    error: str | None


class DeliveryAttempt(LastAttempt):
    """One attempt to send; `answer` is the beginning of the body that came back."""

    duration_seconds: float
    answer: str | None


class Delivery(BaseModel):
    """One message for one endpoint. `message_id` is the header `webhook-id`, the same each time.

    `status`: pending, delivered, failed (the schedule is over) or cancelled (the endpoint was
    disabled or deleted). `attempts`: those since it was created or last redelivered. `due_at`: when
    the next one is.
    """

    delivery_id: str
    endpoint_id: str
    message_id: str
    type: str = Field(examples=["milepost.completion.failed.v1"])
    execution_id: str | None
    status: Status
    attempts: int
    created_at: datetime
    due_at: datetime | None
    ended_at: datetime | None
    last_attempt: LastAttempt | None


class DeliveryAnswer(Delivery):
    """A delivery with what it sends, and every attempt there was, the oldest first."""

    payload: dict[str, Any]
    history: list[DeliveryAttempt]


class Deliveries(Page):
    """A page of deliveries, the newest first."""

    items: list[Delivery]


class Redelivered(BaseModel):
    """How many deliveries are due again. `more`: there are others; ask again for them."""

    redelivered: int
    more: bool
