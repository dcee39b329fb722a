"""Settings that are more than one value."""

import pytest
from pydantic import ValidationError

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
