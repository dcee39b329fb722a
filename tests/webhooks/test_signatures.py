"""Signed messages: the published vectors, the library of the standard as an oracle, and fuzz."""

import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from email.message import Message
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from standardwebhooks import Webhook
from starlette.datastructures import Headers

from milepost.client import (
    Completion,
    InvalidSignature,
    MilepostError,
    WebhookDisabled,
    WebhookMessage,
    WebhookTest,
    WebhookVerifier,
)
from milepost.schemas.values import State
from milepost.schemas.webhooks import (
    WebhookTestMessage,
    completion_payload,
    new_secret,
    notice_payload,
    signing_key,
)
from milepost.webhooks.signing import sign

PUBLISHED = Path(__file__).parents[2] / "schemas" / "published"
VECTORS: list[dict[str, Any]] = json.loads((PUBLISHED / "webhooks.json").read_bytes())["vectors"]
# The same in every process: they are in the names of tests.
SECRET, OTHER = (f"whsec_{base64.b64encode(bytes([byte] * 32)).decode()}" for byte in (1, 2))
NOW = datetime.now(UTC)
BODY = notice_payload(NOW, WebhookTest(id="test_1", tenant="acme", endpoint_id="e"))
SIGNED = sign([SECRET], "test_1", NOW, BODY)


def _body(vector: dict[str, Any]) -> bytes:
    return vector["body"].encode() if "body" in vector else base64.b64decode(vector["body_base64"])


def _verify(vector: dict[str, Any]) -> Any:
    now = datetime.fromtimestamp(vector["now"], UTC)
    return WebhookVerifier(vector["secrets"]).verify(vector["headers"], _body(vector), now=now)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_a_published_vector_is_accepted_or_refused_as_it_says(vector: dict[str, Any]) -> None:
    if vector["accepted"]:
        received, said = _verify(vector), json.loads(_body(vector))
        if not isinstance(received, WebhookMessage):
            said = said["data"]
        assert received.model_dump(mode="json", exclude_unset=True) == said
        return
    with pytest.raises(InvalidSignature) as refused:
        _verify(vector)
    # Nothing tells which check it was.
    assert str(refused.value) == str(InvalidSignature())
    assert refused.value.__suppress_context__


def test_the_vectors_name_every_kind_of_attack_and_every_kind_of_message() -> None:
    names = " ".join(vector["name"] for vector in VECTORS)
    for kind in (
        "changed body", "changed id", "old", "future", "two signatures", "not known", "missing",
        "empty", "truncated", "not base64", "not UTF-8", "another secret",
    ):  # fmt: skip
        assert kind in names
    assert len({vector["name"] for vector in VECTORS}) == len(VECTORS)
    accepted = [_verify(vector) for vector in VECTORS if vector["accepted"]]
    assert {type(one) for one in accepted} == {
        Completion, WebhookTest, WebhookDisabled, WebhookMessage
    }  # fmt: skip
    completion = next(one for one in accepted if isinstance(one, Completion))
    assert (completion.tenant, completion.state) == ("acme", State.SUCCEEDED)


@pytest.mark.parametrize("kind", ["completion", "test", "disabled"])
def test_what_is_accepted_fits_the_published_schema(kind: str) -> None:
    path = PUBLISHED / "notifications" / f"webhook.{kind}.v1.schema.json"
    validator = Draft202012Validator(json.loads(path.read_bytes()))
    documents = [json.loads(_body(vector)) for vector in VECTORS if vector["accepted"]]
    fitting = [document for document in documents if f".{kind}." in document["type"]]
    assert fitting
    for document in fitting:
        validator.validate(document)
        assert not validator.is_valid({**document, "type": "milepost.webhook.other.v1"})


def test_a_completion_is_passed_on_byte_for_byte() -> None:
    at = datetime(2026, 1, 15, 10, 41, tzinfo=timezone(timedelta(hours=1)))
    value = b'{"id":"1" , "later":1.50,"label":"\xf0\x9f\x9a\x80"}'
    assert completion_payload(State.FAILED, at, value) == (
        b'{"type":"milepost.completion.failed.v1","timestamp":"2026-01-15T09:41:00Z","data":%b}'
        % value
    )


zones = st.timezones() | st.builds(
    lambda minutes: timezone(timedelta(minutes=minutes)), st.integers(-1_439, 1_439)
)
payloads = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@given(st.lists(st.builds(new_secret), min_size=1, max_size=3), zones, payloads)
def test_what_is_signed_the_library_verifies_with_each_secret(
    secrets: list[str], zone: Any, text: str
) -> None:
    headers = sign(secrets, "msg_1", datetime.now(UTC).astimezone(zone), text.encode())
    assert len(headers["webhook-signature"].split(" ")) == len(secrets)
    for secret in secrets:
        Webhook(secret).verify(text.encode(), headers, json_parse=False)


def test_what_the_library_signs_is_verified() -> None:
    now = datetime.now(UTC)
    headers = {
        "webhook-id": "test_1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(SECRET).sign("test_1", now, BODY.decode()),
    }
    assert WebhookVerifier([OTHER, SECRET]).verify(headers, BODY) == WebhookTest(
        id="test_1", tenant="acme", endpoint_id="e"
    )


def test_an_attempt_has_the_headers_of_the_standard() -> None:
    assert SIGNED.keys() == {
        "webhook-id", "webhook-timestamp", "webhook-signature", "content-type", "user-agent"
    }  # fmt: skip
    assert SIGNED["content-type"] == "application/json"


def _message() -> Message:
    message = Message()
    for name, value in SIGNED.items():
        message[name.title()] = value
    return message


@pytest.mark.parametrize(
    "headers",
    [
        SIGNED,
        {name.upper(): value for name, value in SIGNED.items()},
        {name.encode(): value.encode() for name, value in SIGNED.items()},
        {name: value.encode() for name, value in SIGNED.items()},
        Headers(SIGNED),
        Headers(raw=[(name.encode(), value.encode()) for name, value in SIGNED.items()]),
        _message(),
        {**SIGNED, "x-other": "\u20ac", "x-more": None, "x-list": ["a"]},
    ],
    ids=lambda headers: type(headers).__name__,
)
def test_headers_may_be_those_of_any_framework(headers: Any) -> None:
    assert isinstance(WebhookVerifier(SECRET).verify(headers, BODY, now=NOW), WebhookTest)


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_a_header_that_comes_twice_is_refused(name: str) -> None:
    pairs = [(key.encode(), value.encode()) for key, value in SIGNED.items()]
    twice = Headers(raw=[*pairs, (name.encode(), SIGNED[name].encode())])
    with pytest.raises(InvalidSignature):
        WebhookVerifier(SECRET).verify(twice, BODY, now=NOW)


@pytest.mark.parametrize("value", [None, 7, ["v1,x"], object(), "\ud800", "\u20ac", b"\xff"])
def test_a_header_that_is_no_text_is_refused(value: object) -> None:
    for name in ("webhook-id", "webhook-timestamp", "webhook-signature"):
        with pytest.raises(InvalidSignature):
            WebhookVerifier(SECRET).verify({**SIGNED, name: value}, BODY, now=NOW)


def test_a_body_that_was_decoded_is_a_mistake_of_the_receiver() -> None:
    with pytest.raises(TypeError, match="give the bytes that came, not str"):
        WebhookVerifier(SECRET).verify(SIGNED, BODY.decode(), now=NOW)  # type: ignore[arg-type]


def test_the_refusal_is_one_of_the_errors_of_the_sdk() -> None:
    assert issubclass(InvalidSignature, MilepostError)
    assert not issubclass(InvalidSignature, ValueError)


@given(st.integers(0, len(BODY) - 1), st.integers(1, 255))
def test_one_changed_byte_is_refused(place: int, change: int) -> None:
    body = bytearray(BODY)
    body[place] ^= change
    with pytest.raises(InvalidSignature):
        WebhookVerifier(SECRET).verify(SIGNED, bytes(body), now=NOW)


signature_parts = st.sampled_from(
    [
        "v1",
        "v2",
        "v1a",
        ",",
        " ",
        "=",
        "*",
        SIGNED["webhook-signature"],
        "v1,",
        "\u00e9",
        "\ud800",
        "\0",
    ]
) | st.text(max_size=5)
values = (
    st.lists(signature_parts, max_size=6).map("".join)
    | st.sampled_from([*SIGNED.values(), "", "0", "-1", "1e400", "nan", "9" * 5_000, "\u0661"])
    | st.binary(max_size=20)
    | st.none()
    | st.integers()
)
names = st.sampled_from([*SIGNED, *(name.title() for name in SIGNED), b"webhook-id"]) | st.text()


@given(
    st.dictionaries(names, values, max_size=5),
    st.booleans(),
    st.just(BODY) | st.binary() | st.text().map(lambda text: text.encode("utf-8", "replace")),
    st.datetimes(timezones=st.just(UTC)) | st.just(NOW),
)
def test_nothing_but_one_refusal_ever_comes_out(
    changes: Mapping[Any, Any], whole: bool, body: bytes, now: datetime
) -> None:
    headers = {**(SIGNED if whole else {}), **changes}
    try:
        received = WebhookVerifier([OTHER, SECRET]).verify(headers, body, now=now)
    except InvalidSignature:
        return
    assert body == BODY
    assert isinstance(received, WebhookTest)


@given(
    st.recursive(st.none() | st.booleans() | st.floats() | st.text(max_size=3), st.lists),
    st.booleans(),
)
def test_no_signed_body_breaks_the_verifier(data: Any, known: bool) -> None:
    type_ = "milepost.completion.failed.v1" if known else "milepost.webhook.later.v1"
    body = json.dumps({"type": type_, "timestamp": NOW.isoformat(), "data": data}).encode()
    with pytest.raises(InvalidSignature):
        WebhookVerifier(SECRET).verify(sign([SECRET], "1", NOW, body), body, now=NOW)


def test_members_of_a_newer_milepost_are_ignored() -> None:
    message = WebhookTestMessage.model_validate_json(BODY).model_dump(mode="json")
    newer = {**message, "later": 1, "data": {**message["data"], "later": {"a": [1]}}}
    body = json.dumps(newer).encode()
    headers = sign([SECRET], "test_1", NOW, body)
    assert WebhookVerifier(SECRET).verify(headers, body, now=NOW) == WebhookTest(**message["data"])


@given(st.integers(24, 64))
def test_a_secret_has_24_to_64_bytes(length: int) -> None:
    key = bytes(range(length))
    assert signing_key(f"whsec_{base64.b64encode(key).decode()}") == key
    assert len(signing_key(new_secret())) == 32


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "whsec_",
        SECRET.removeprefix("whsec_"),
        SECRET.replace("whsec_", "whsk_"),
        SECRET[:-1],
        f"{SECRET}*",
        f" {SECRET}",
        f"{SECRET}\n",
        "whsec_" + base64.b64encode(bytes(23)).decode(),
        "whsec_" + base64.b64encode(bytes(65)).decode(),
        "whsec_\u00e9\u00e9\u00e9\u00e9",
    ],
)
def test_what_is_no_secret_is_refused_and_not_shown(secret: str) -> None:
    with pytest.raises(ValueError, match="a signing secret is whsec_ and the base64") as refused:
        WebhookVerifier(secret)
    assert len(secret) < 10 or secret.strip() not in str(refused.value)


def test_a_verifier_without_a_secret_is_refused_and_shows_none_in_its_repr() -> None:
    with pytest.raises(ValueError, match="needs the signing secret"):
        WebhookVerifier([])
    verifier = WebhookVerifier(SECRET)
    assert SECRET not in repr(verifier)
    assert SECRET not in repr(vars(verifier))
