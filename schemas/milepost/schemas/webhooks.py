"""What webhooks carry, signed after Standard Webhooks 1.0.0: payloads, and the form of a secret.

A payload is `{"type": ..., "timestamp": ..., "data": {...}}`. All times are RFC 3339 in UTC.
"""

import base64
import secrets
from datetime import UTC, datetime
from typing import Any, Final, Literal

from pydantic import BaseModel
from pydantic_core import to_json

from milepost.schemas.notifications import COMPLETION_TYPE, OPEN, Completion
from milepost.schemas.values import State

TEST_TYPE: Final = "milepost.webhook.test.v1"
DISABLED_TYPE: Final = "milepost.webhook.disabled.v1"
SECRET_PREFIX: Final = "whsec_"
SECRET_BYTES: Final = range(24, 65)
# How far from the receiver's clock a message may be signed.
TOLERANCE_SECONDS: Final = 300


class WebhookTest(BaseModel):
    """A message that an endpoint's owner asked for, to see whether it arrives.

    `id` is the header `webhook-id`.
    """

    model_config = OPEN
    id: str
    tenant: str
    endpoint_id: str


class WebhookDisabled(BaseModel):
    """Another endpoint of the tenant is sent nothing more, until its owner enables it again.

    `reason`: "gone", it answered 410, or "failing", nothing arrived since `failing_since`. `id` is the
    header `webhook-id`.
    """

    model_config = OPEN
    id: str
    tenant: str
    endpoint_id: str
    url: str
    reason: str
    failing_since: datetime | None = None


class WebhookMessage(BaseModel):
    """A payload of whatever type. `timestamp`: when what it tells of happened, not when it was sent."""

    model_config = OPEN
    type: str
    timestamp: datetime
    data: dict[str, Any]


class CompletionMessage(BaseModel):
    """An execution reached a terminal state; `data.id` is the header `webhook-id`."""

    model_config = OPEN
    type: Literal[
        "milepost.completion.succeeded.v1",
        "milepost.completion.failed.v1",
        "milepost.completion.cancelled.v1",
    ]
    timestamp: datetime
    data: Completion


class WebhookTestMessage(BaseModel):
    """See WebhookTest."""

    model_config = OPEN
    type: Literal["milepost.webhook.test.v1"]
    timestamp: datetime
    data: WebhookTest


class WebhookDisabledMessage(BaseModel):
    """See WebhookDisabled."""

    model_config = OPEN
    type: Literal["milepost.webhook.disabled.v1"]
    timestamp: datetime
    data: WebhookDisabled


PAYLOADS: Final[dict[str, type[BaseModel]]] = {
    "webhook.completion.v1": CompletionMessage,
    "webhook.test.v1": WebhookTestMessage,
    "webhook.disabled.v1": WebhookDisabledMessage,
}


def completion_payload(state: State, at: datetime, completion: bytes) -> bytes:
    """The payload that tells of a completion.

    Args:
        state: the terminal state that was reached.
        at: the time of the completion's record, aware.
        completion: the value of that record, JSON; it is passed on byte for byte.
    """
    return _payload(COMPLETION_TYPE.format(state=state.value), at, completion)


def notice_payload(at: datetime, notice: WebhookTest | WebhookDisabled) -> bytes:
    """The payload of a test that was asked for, or of an endpoint's end, `at` a time, aware."""
    type_ = TEST_TYPE if isinstance(notice, WebhookTest) else DISABLED_TYPE
    return _payload(type_, at, notice.model_dump_json().encode())


def _payload(type_: str, at: datetime, data: bytes) -> bytes:
    head = to_json({"type": type_, "timestamp": at.astimezone(UTC)})
    return b'%b,"data":%b}' % (head[:-1], data)


def new_secret() -> str:
    """A secret to sign with: `whsec_` and 32 random bytes in base64."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def signing_key(secret: str) -> bytes:
    """The bytes of a secret. Raises ValueError, which does not quote it, for what is none."""
    prefix, encoded = secret[: len(SECRET_PREFIX)], secret[len(SECRET_PREFIX) :]
    try:
        key = base64.b64decode(encoded, validate=True) if prefix == SECRET_PREFIX else b""
    except ValueError:
        key = b""
    if len(key) not in SECRET_BYTES:
        raise ValueError(
            f"a signing secret is {SECRET_PREFIX} and the base64 of {SECRET_BYTES[0]} to "
            f"{SECRET_BYTES[-1]} bytes, as it was shown when the endpoint was made"
        )
    return key
