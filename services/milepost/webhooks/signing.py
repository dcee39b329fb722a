"""Signed requests after Standard Webhooks 1.0.0."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from standardwebhooks import Webhook

from milepost.schemas.webhooks import signing_key

_SENDER: Final = "Milepost-Webhooks/1"


def sign(secrets: Sequence[str], message_id: str, at: datetime, payload: bytes) -> dict[str, str]:
    """The headers of one attempt to send `payload`.

    Args:
        secrets: the endpoint's secrets, `whsec_` and base64, the newest first. Each signs, so that a
            receiver that knows one of them can verify.
        message_id: the same for every attempt, so that a receiver can drop repeats.
        at: when this attempt is made, aware; receivers refuse what is more than five minutes off.
        payload: UTF-8; the body exactly as it is sent.
    """
    # The library takes whatever zone `at` has for UTC.
    at, text = at.astimezone(UTC), payload.decode()
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": " ".join(
            Webhook(signing_key(secret)).sign(message_id, at, text) for secret in secrets
        ),
        "content-type": "application/json",
        "user-agent": _SENDER,
    }
