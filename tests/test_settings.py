"""Settings that are more than one value."""

import json
from ipaddress import ip_network
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr, ValidationError

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
