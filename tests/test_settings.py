"""Settings that are more than one value."""

import json
from ipaddress import ip_network
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr, ValidationError

from milepost import settings_reference
from milepost.cli.failures import explain
from milepost.sealing import CannotSeal, Seal
from milepost.settings import Settings

NAME = "MILEPOST_PROVIDER_HEARTBEAT_SECONDS"


def test_heartbeats_of_single_providers_and_of_all_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NAME, '{"terraform": 900, "ecs": 30.5}')
    monkeypatch.setenv("MILEPOST_HEARTBEAT_SECONDS", "60")
    assert Settings().heartbeats == {"terraform": 900, "ecs": 30.5, "*": 60}


@pytest.mark.parametrize("value", ["", "terraform=900", "[]", '{"Terraform": 1}', '{"ecs": "1"}'])
def test_a_mistake_names_the_setting(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv(NAME, value)
    with pytest.raises(ValidationError) as refused:
        Settings()
    assert {mistake["loc"][0] for mistake in refused.value.errors()} == {NAME.lower()[9:]}


def settings(*keys: str) -> Settings:
    return Settings(webhook_keys=SecretStr(",".join(keys)))


def test_what_the_newest_key_seals_any_key_opens() -> None:
    old, new, other = (Fernet.generate_key().decode() for _ in range(3))
    sealed = Seal(settings(old)).seal("whsec_mine")
    assert b"mine" not in sealed
    assert sealed != Seal(settings(old)).seal("whsec_mine")
    assert Seal(settings(new, old)).open(sealed) == "whsec_mine"
    with pytest.raises(CannotSeal, match="not in MILEPOST_WEBHOOK_KEYS"):
        Seal(settings(new, other)).open(sealed)
    with pytest.raises(CannotSeal, match="not in MILEPOST_WEBHOOK_KEYS"):
        Seal(settings(old)).open(b"altered" + sealed)


def test_without_a_key_it_says_how_to_make_one() -> None:
    for unset in (Settings(), settings("")):
        with pytest.raises(CannotSeal, match=r"urlsafe_b64encode.* set MILEPOST_WEBHOOK_KEYS"):
            Seal(unset)


def test_a_password_that_breaks_the_url_of_the_database_is_not_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MILEPOST_DATABASE_URL", "postgresql://me:hush\u2100@localhost/milepost")
    with pytest.raises(ValidationError) as refused:
        Settings()
    sentence = explain(refused.value).sentence
    assert "MILEPOST_DATABASE_URL=(hidden): " in sentence
    assert "as %XX" in sentence
    for shown in (sentence, str(refused.value)):
        assert "hush" not in shown


@pytest.mark.parametrize("wrong", ["mistake", "mistake+" * 6, "A" * 43, "ä"])
def test_a_key_that_is_none_is_named_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    monkeypatch.setenv("MILEPOST_WEBHOOK_KEYS", f"{Fernet.generate_key().decode()}, {wrong}")
    with pytest.raises(ValidationError) as refused:
        Settings()
    sentence = explain(refused.value).sentence
    assert "MILEPOST_WEBHOOK_KEYS=(hidden): " in sentence
    assert "entry 2 of 2 is not 32 bytes" in sentence
    assert "Make one with `python -c" in sentence
    for shown in (sentence, str(refused.value)):
        assert wrong not in shown


def test_networks_that_webhooks_may_go_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILEPOST_WEBHOOK_ALLOWED_NETWORKS", "10.20.0.0/16, fd00::/8")
    expected = (ip_network("10.20.0.0/16"), ip_network("fd00::/8"))
    assert Settings().webhook_allowed_networks == expected
    monkeypatch.setenv("MILEPOST_WEBHOOK_ALLOWED_NETWORKS", "10.20.0.1/16")
    with pytest.raises(ValidationError) as refused:
        Settings()
    assert "MILEPOST_WEBHOOK_ALLOWED_NETWORKS='10.20.0.1/16': " in explain(refused.value).sentence


def test_the_token_of_a_stack_is_for_its_own_api(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".milepost").mkdir()
    stack = {"api": "http://127.0.0.1:8080", "token": "mp_of_the_stack"}
    (tmp_path / ".milepost" / "stack.json").write_text(json.dumps(stack))
    assert Settings().bearer == "mp_of_the_stack"
    assert Settings(api_url="http://elsewhere.example").bearer is None
    monkeypatch.setenv("MILEPOST_API_URL", "http://elsewhere.example")
    assert Settings().bearer is None
    monkeypatch.setenv("MILEPOST_TOKEN", "mp_of_elsewhere")
    assert Settings().bearer == "mp_of_elsewhere"
    assert "mp_of" not in repr(Settings())


def said(monkeypatch: pytest.MonkeyPatch, **variables: object) -> str:
    """What a command says of these variables, without the prefix."""
    for name, value in variables.items():
        monkeypatch.setenv(f"MILEPOST_{name}", str(value))
    with pytest.raises(ValidationError) as refused:
        Settings()
    explained = explain(refused.value)
    assert explained.status == 2
    return explained.sentence


def test_every_mistake_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    sentence = said(
        monkeypatch,
        KAFKA_SECURITY_PROTOCOL="SASL_SSL",
        KAFKA_PASWORD="geheim",
        KAFKA_CERT_FILE="/nowhere.pem",
        KAFKA_BOOTSTRAP_SERVERS="kafka:9092,kafka:99999",
        DATABASE_URL="mysql://me:geheim@db/x",
        JWT_ISSUER="https://issuer.example",
        API_URL="milepost.example",
    )
    assert sentence.startswith("11 settings are wrong:")
    for part in (
        "KAFKA_PASWORD: there is no such setting; the nearest is MILEPOST_KAFKA_PASSWORD",
        "KAFKA_SASL_MECHANISM: is missing: MILEPOST_KAFKA_SECURITY_PROTOCOL is SASL_SSL",
        "KAFKA_USERNAME: is missing", "KAFKA_PASSWORD: is missing",
        "KAFKA_CERT_FILE='/nowhere.pem': Path does not point to a file",
        "KAFKA_KEY_FILE: is missing: MILEPOST_KAFKA_CERT_FILE needs it",
        "'kafka:99999' is no host:port", "it must begin with postgresql://",
        "JWT_JWKS: is missing", "API_URL='milepost.example'",
    ):  # fmt: skip
        assert part in sentence
    assert "geheim" not in sentence


def test_what_would_have_no_effect_is_a_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    sentence = said(monkeypatch, KAFKA_PASSWORD="geheim", KAFKA_USERNAME="me")
    assert "MILEPOST_KAFKA_PASSWORD=(hidden): has no effect" in sentence
    assert "MILEPOST_KAFKA_USERNAME='me': has no effect" in sentence


def test_files_that_cannot_be_used_are_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "not.pem"
    file.write_text("not a certificate")
    sentence = said(monkeypatch, KAFKA_SECURITY_PROTOCOL="SSL", KAFKA_CA_FILE=file)
    assert f"MILEPOST_KAFKA_CA_FILE='{file}': holds no certificates in PEM" in sentence
    monkeypatch.delenv("MILEPOST_KAFKA_CA_FILE")
    sentence = said(monkeypatch, KAFKA_CERT_FILE=file, KAFKA_KEY_FILE=file)
    assert f"MILEPOST_KAFKA_CERT_FILE='{file}': cannot be used with the key" in sentence


def test_variables_of_kubernetes_and_of_our_own_processes_are_no_mistakes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("SERVICE_HOST", "WEB_SERVICE_PORT_HTTP", "PORT_8080_TCP_ADDR", "TENANT", "CACHE"):
        monkeypatch.setenv(f"MILEPOST_{name}", "tcp://10.0.0.1:80")
    assert Settings().kafka_security_protocol == "PLAINTEXT"


def test_the_reference_is_what_make_schemas_writes() -> None:
    page = Path(__file__).parents[1] / "docs" / "reference" / "settings.md"
    assert page.read_text() == settings_reference.page()
    assert "## Kafka" in page.read_text()
