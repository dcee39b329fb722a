"""Test vectors of signed webhooks, for implementers of receivers: what is accepted, and what is not.

Each vector holds the receiver's secrets and clock, the request's headers and body, and the outcome.
Made with nothing but HMAC: the verifier of the SDK is tested against them.
"""

import base64
import hmac
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, Final

from milepost.schemas.identifiers import execution_id, outgoing_id
from milepost.schemas.notifications import Completion
from milepost.schemas.values import State
from milepost.schemas.webhooks import (
    SECRET_PREFIX,
    TOLERANCE_SECONDS,
    WebhookDisabled,
    WebhookTest,
    completion_payload,
    notice_payload,
    signing_key,
)

_AT: Final = datetime(2026, 1, 15, 9, 41, tzinfo=UTC)
_NOW: Final = int(_AT.timestamp())
_SECRET: Final = SECRET_PREFIX + base64.b64encode(bytes(range(32))).decode()
_OLD_SECRET: Final = SECRET_PREFIX + base64.b64encode(bytes(range(100, 124))).decode()
_ENDPOINT: Final = "0b9bd3a0-3f1e-4a63-9d0c-5a1f5d3c7e11"
_EXECUTION: Final = execution_id("acme", "provision", key="order-7")
_ID: Final = outgoing_id("acme", _EXECUTION, "succeeded", 3)
_COMPLETION: Final = Completion(
    id=_ID,
    execution_id=_EXECUTION,
    tenant="acme",
    state=State.SUCCEEDED,
    version=3,
    requested=True,
    operation="provision",
    provider="ecs",
    idempotency_key="order-7",
    labels={"team": "Größe \U0001f680"},
    ended_at=_AT,
    first_recorded_at=_AT,
    recorded_at=_AT,
)
_BODY: Final = completion_payload(
    State.SUCCEEDED, _AT, _COMPLETION.model_dump_json(exclude_defaults=True).encode()
)
_TEST: Final = notice_payload(_AT, WebhookTest(id="test_1", tenant="acme", endpoint_id=_ENDPOINT))
_DISABLED: Final = notice_payload(
    _AT,
    WebhookDisabled(
        id="notice_1",
        tenant="acme",
        endpoint_id=_ENDPOINT,
        url="https://hooks.acme.example/milepost",
        reason="gone",
    ),
)
_LATER: Final = b'{"type":"milepost.webhook.later.v1","timestamp":"2026-01-15T09:41:00Z","data":{}}'


def webhook_vectors() -> dict[str, Any]:
    """All vectors, those that are accepted first."""
    return {
        "signature": "v1 of Standard Webhooks 1.0.0: HMAC-SHA256 of {id}.{timestamp}.{body}",
        "tolerance_seconds": TOLERANCE_SECONDS,
        "vectors": [*_accepted(), *_refused()],
    }


def _accepted() -> Iterator[dict[str, Any]]:
    good, old = _signature(), _signature(secret=_OLD_SECRET)
    yield _vector("a completion", True)
    yield _vector("a test", True, id_="test_1", body=_TEST)
    yield _vector("a notice", True, id_="notice_1", body=_DISABLED)
    yield _vector("a type that is not known yet", True, id_="later_1", body=_LATER)
    capitals = _vector("names in another case", True)
    capitals["headers"] = {name.title(): value for name, value in capitals["headers"].items()}
    yield capitals
    yield _vector("two signatures, the second fits", True, signature=f"{old} {good}")
    yield _vector("another version beside it", True, signature=f"v1a,{'A' * 86}== {good}")
    yield _vector("parts that are no signature beside it", True, signature=f"v1 v1,a,b , {good}")
    yield _vector("the old secret while both count", True, (_SECRET, _OLD_SECRET), signature=old)
    for seconds in (-TOLERANCE_SECONDS, TOLERANCE_SECONDS):
        yield _vector(f"{seconds} s from the clock", True, now=_NOW - seconds)


def _refused() -> Iterator[dict[str, Any]]:
    good = _signature()
    value = good.removeprefix("v1,")
    yield _vector("another secret", False, (_OLD_SECRET,))
    yield _vector(
        "changed body", False, body=_BODY.replace(b"succeeded", b"cancelled"), signature=good
    )
    yield _vector("body with a blank more", False, body=_BODY + b" ", signature=good)
    yield _vector("body cut off", False, body=_BODY[:-1], signature=good)
    yield _vector("empty body", False, body=b"", signature=good)
    yield _vector("changed id", False, id_="another", signature=good)
    yield _vector("changed time", False, timestamp=str(_NOW + 1), signature=good)
    yield _vector("old", False, now=_NOW + TOLERANCE_SECONDS + 1)
    yield _vector("future", False, now=_NOW - TOLERANCE_SECONDS - 1)
    for name, signature in {
        "signature of a version that is not known": f"v2,{value}",
        "version in capitals": f"V1,{value}",
        "asymmetric version": f"v1a,{value}",
        "no version": value,
        "no signature after the version": "v1,",
        "version alone": "v1",
        "three parts": f"{good},b",
        "truncated": good[:-8],
        "padding cut off": good.rstrip("="),
        "not base64": "v1,not*base64",
        "not ASCII": f"v1,{value[:-2]}\u00e9=",
        "hexadecimal": f"v1,{base64.b64decode(value).hex()}",
        "only blanks": "   ",
        "separated by a comma": f"{_signature(secret=_OLD_SECRET)},{good}",
    }.items():
        yield _vector(f"signature: {name}", False, signature=signature)
    for name in ("webhook-id", "webhook-timestamp", "webhook-signature"):
        missing = _vector(f"missing {name}", False)
        del missing["headers"][name]
        yield missing
        empty = _vector(f"empty {name}", False)
        empty["headers"][name] = ""
        yield empty
    for timestamp in (
        "soon", "1e9", "-1", "0", f"{_NOW}.0", f"{_NOW}.5", f"+{_NOW}", f" {_NOW}", f"0{_NOW}",
        f"{_NOW}000", "9" * 400, "nan", "inf", "1_768_470_060", "\u0661\u0667\u0666", "2026-01-15T09:41:00Z",
    ):  # fmt: skip
        yield _vector(f"time {timestamp[:20]!r}", False, timestamp=timestamp)
    yield _vector("id that is not ASCII", False, id_="\u00e9")
    # Signed as it should be, and still nothing that Milepost sends.
    for name, body in {
        "not UTF-8": b'{"type":"\xff"}',
        "nothing": b"",
        "not JSON": b"completed!",
        "no object": b"[]",
        "no type": b'{"timestamp":"2026-01-15T09:41:00Z","data":{}}',
        "no data": b'{"type":"milepost.completion.failed.v1","timestamp":"2026-01-15T09:41:00Z"}',
        "no completion": _LATER.replace(b"webhook.later", b"completion.failed"),
        "nested without end": b"[" * 10_000,
    }.items():
        yield _vector(f"signed body: {name}", False, body=body)


def _vector(
    name: str,
    accepted: bool,
    secrets: Iterable[str] = (_SECRET,),
    *,
    id_: str = _ID,
    timestamp: str = str(_NOW),
    signature: str | None = None,
    body: bytes = _BODY,
    now: int = _NOW,
) -> dict[str, Any]:
    """A request that is right but for what is given."""
    try:
        shown = {"body": body.decode()}
    except UnicodeDecodeError:
        shown = {"body_base64": base64.b64encode(body).decode()}
    return {
        "name": name,
        "accepted": accepted,
        "secrets": [*secrets],
        "now": now,
        "headers": {
            "webhook-id": id_,
            "webhook-timestamp": timestamp,
            "webhook-signature": signature or _signature(id_, timestamp, body),
        },
        **shown,
    }


def _signature(
    id_: str = _ID, timestamp: str = str(_NOW), body: bytes = _BODY, *, secret: str = _SECRET
) -> str:
    signed = b"%b.%b.%b" % (id_.encode(), timestamp.encode(), body)
    return f"v1,{base64.b64encode(hmac.digest(signing_key(secret), signed, 'sha256')).decode()}"
