"""Receiving webhooks: whether Milepost sent this, just now and whole, and what it says."""

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from hmac import compare_digest
from typing import Any, Final, Protocol

from standardwebhooks import Webhook

from milepost.client.errors import InvalidSignature
from milepost.schemas.notifications import COMPLETION_TYPE, Completion
from milepost.schemas.values import TERMINAL
from milepost.schemas.webhooks import (
    DISABLED_TYPE,
    TEST_TYPE,
    TOLERANCE_SECONDS,
    CompletionMessage,
    WebhookDisabled,
    WebhookDisabledMessage,
    WebhookMessage,
    WebhookTest,
    WebhookTestMessage,
    signing_key,
)

Received = Completion | WebhookTest | WebhookDisabled | WebhookMessage

_ID: Final = b"webhook-id"
_TIMESTAMP: Final = b"webhook-timestamp"
_SIGNATURE: Final = b"webhook-signature"
_SECONDS: Final = re.compile(rb"[1-9][0-9]{0,10}")
_MODELS: Final[dict[str, type[CompletionMessage | WebhookTestMessage | WebhookDisabledMessage]]] = {
    **{COMPLETION_TYPE.format(state=state.value): CompletionMessage for state in TERMINAL},
    TEST_TYPE: WebhookTestMessage,
    DISABLED_TYPE: WebhookDisabledMessage,
}


class Headers(Protocol):
    """The headers of a request, as any framework has them: `items()` gives names and values."""

    def items(self) -> Iterable[tuple[Any, Any]]: ...


class WebhookVerifier:
    """Verifies what comes to a webhook endpoint.

        verifier = WebhookVerifier(secret)

        match verifier.verify(request.headers, await request.body()):
            case Completion() as completion:
                ...

    Answer 2xx to whatever it returns, its type known or not, and 400 to InvalidSignature. The same
    message may come more than once: its `id`, the header `webhook-id`, tells.

    Args:
        secrets: the endpoint's signing secret, `whsec_...`; while it is rotated, the old and the new.

    Raises ValueError where one of them is no secret.
    """

    def __init__(self, secrets: str | Iterable[str]) -> None:
        secrets = [secrets] if isinstance(secrets, str) else [*secrets]
        if not secrets:
            raise ValueError("a verifier needs the signing secret of its endpoint")
        self._signers = [Webhook(signing_key(secret)) for secret in secrets]

    def verify(self, headers: Headers, body: bytes, *, now: datetime | None = None) -> Received:
        """What the request says.

        Args:
            headers: the request's headers, names in any case; str or bytes.
            body: the request's body, byte for byte as it came.
            now: the time, aware; by default the clock's. More than five minutes away is refused.

        Returns the completion; a WebhookTest or WebhookDisabled, which are about endpoints themselves;
        the whole WebhookMessage where its type is not known, from a newer Milepost.

        Raises InvalidSignature for everything else, whatever is wrong with it.
        """
        if not isinstance(body, bytes):
            raise TypeError(
                f"the body is signed byte for byte: give the bytes that came, not {type(body).__name__}"
            )
        try:
            self._check(_signed(headers), body.decode(), now or datetime.now(UTC))
            return _read(body)
        except ValueError:
            # Which check it was would tell a forger how near he is.
            raise InvalidSignature from None

    def _check(self, headers: dict[bytes, bytes], text: str, now: datetime) -> None:
        """Raises ValueError where no signature fits."""
        seconds = headers[_TIMESTAMP]
        if not _SECONDS.fullmatch(seconds):
            raise ValueError
        at = datetime.fromtimestamp(int(seconds), UTC)
        if abs((now - at).total_seconds()) > TOLERANCE_SECONDS:
            raise ValueError
        message_id = headers[_ID].decode("ascii")
        given = headers[_SIGNATURE].split(b" ")
        for signer in self._signers:
            expected = signer.sign(message_id, at, text).encode()
            if any(compare_digest(expected, signature) for signature in given):
                return
        raise ValueError


def _signed(headers: Headers) -> dict[bytes, bytes]:
    """The three headers that count. Raises ValueError unless each is there once, and not empty."""
    found: dict[bytes, bytes] = {}
    for name, value in headers.items():
        lowered = _bytes(name).lower()
        if lowered in (_ID, _TIMESTAMP, _SIGNATURE):
            if lowered in found or not value:
                raise ValueError
            found[lowered] = _bytes(value)
    if len(found) < 3:
        raise ValueError
    return found


def _bytes(text: object) -> bytes:
    if isinstance(text, str):
        return text.encode("latin-1")
    if isinstance(text, bytes):
        return text
    raise ValueError


def _read(body: bytes) -> Received:
    message = WebhookMessage.model_validate_json(body)
    model = _MODELS.get(message.type)
    # Unknown members are those of a newer Milepost.
    return model.model_validate_json(body, extra="ignore").data if model else message
