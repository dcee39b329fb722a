"""compose.yaml: held against the schema of its kind, and against what Milepost is."""

import json
import re
from collections.abc import Iterator
from typing import Any, Final

import pytest
import yaml

from deploy.containers import COMMANDS, DEPLOY, SECRETS, Container, tool
from milepost.settings import Settings

_GIVEN: Final = {**SECRETS, "POSTGRES_PASSWORD": "secret"}
_VALIDATE: Final = "import sys, compose_spec; compose_spec.PyCompose.from_json(sys.stdin.read())"


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """The file, with the variables that it must be given."""
    text = (DEPLOY / "compose.yaml").read_text()
    filled = re.sub(r"\$\{(\w+):\?[^}]+\}", lambda found: _GIVEN[found[1]], text)
    assert "$" not in filled
    document: dict[str, Any] = yaml.safe_load(filled)
    return document


@pytest.fixture(scope="module")
def ours(compose: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {name: one for name, one in compose["services"].items() if "build" in one}


def containers(ours: dict[str, dict[str, Any]]) -> Iterator[Container]:
    for name, service in ours.items():
        yield Container(name, service["command"], service["environment"])


def test_compose_has_every_field(compose: dict[str, Any]) -> None:
    tool("python", "-c", _VALIDATE, given=json.dumps(compose))


def test_every_service_starts_with_what_it_is_given(
    ours: dict[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ours.keys() == COMMANDS.keys()
    for container in containers(ours):
        assert container.command() is COMMANDS[container.name]
        assert container.settings() <= set(Settings.model_fields)
        with monkeypatch.context() as patched:
            for name, value in container.environment.items():
                patched.setenv(name, value)
            assert Settings().kafka_bootstrap_servers == "kafka:9092"


def test_services_wait_for_what_they_need(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        for other, how in service.get("depends_on", {}).items():
            needed = compose["services"][other]
            if how["condition"] == "service_healthy":
                assert "test" in needed["healthcheck"], f"{name} waits for {other}"
            else:
                assert needed["restart"] == "on-failure", f"{other} ends"
    for name in ("processor", "api", "webhooks"):
        assert set(compose["services"][name]["depends_on"]) == {"migrate", "topics"}


def test_a_service_may_do_nothing_that_it_need_not(ours: dict[str, dict[str, Any]]) -> None:
    for service in ours.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
    # Nothing but the API can be reached, and that from this machine only.
    assert [one["ports"] for one in ours.values() if "ports" in one] == [["127.0.0.1:8080:8080"]]


def test_only_who_seals_has_the_keys(ours: dict[str, dict[str, Any]]) -> None:
    with_keys = {
        name for name, one in ours.items() if "MILEPOST_WEBHOOK_KEYS" in one["environment"]
    }
    assert with_keys == {"api", "webhooks"}
