"""The curl lines of the README answer every scenario of the requirements, exactly as printed."""

import asyncio
import json
import os
import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from conftest import StartService
from milepost.api.keys import bootstrap
from milepost.settings import Settings
from signals import DEADLINE

README = Path(__file__).parents[2] / "README.md"
FIRST = "2752fe1d-e26c-5317-ba64-ee07aca23c9e"
SECOND = "ff241aae-dacf-54aa-b42d-d7bbe412ea44"


class Printed(NamedTuple):
    """What one block of the README printed: JSON documents, or the events of a stream."""

    text: str

    @property
    def documents(self) -> list[Any]:
        """The JSON documents, one after the other."""
        decoder, found, rest = json.JSONDecoder(), [], self.text.strip()
        while rest:
            document, end = decoder.raw_decode(rest)
            found.append(document)
            rest = rest[end:].lstrip()
        return found


def blocks() -> list[str]:
    """The shell blocks of the section, in their order."""
    section = README.read_text().split("## The HTTP API with curl")[1].split("\n## ")[0]
    return re.findall(r"```sh\n(.*?)```", section, re.DOTALL)


@pytest.fixture(scope="module")
async def printed(settings: Settings, service: StartService) -> list[Printed]:
    """What each block printed, run in order as a user would, against an API that asks for a key."""
    required = settings.model_copy(update={"api_access": "required"})
    api, _ = await service("api", settings=required), await service("processor")
    token = await bootstrap(settings.dsn, "readme")
    where = {
        "MILEPOST_API_URL": api.ready["api"],
        "MILEPOST_TOKEN": token.get_secret_value(),
    }
    outputs = []
    for block in blocks():
        process = await asyncio.create_subprocess_exec(
            *("bash", "-euc", block), env=os.environ | where, stdout=asyncio.subprocess.PIPE
        )
        async with asyncio.timeout(DEADLINE):
            out, _ = await process.communicate()
        assert process.returncode == 0, block
        outputs.append(Printed(out.decode()))
    return outputs


def test_compute_execution_id_is_returned_immediately(printed: list[Printed]) -> None:
    [accepted] = printed[0].documents
    assert (accepted["execution_id"], accepted["state"]) == (FIRST, "pending")


def test_compute_execution_id_is_deterministic_for_idempotent_operations(
    printed: list[Printed],
) -> None:
    assert [one["execution_id"] for one in printed[1].documents] == [FIRST]
    assert [one["execution_id"] for one in printed[2].documents[0]["items"]] == [FIRST, FIRST]


def test_workflow_can_query_compute_execution_status(printed: list[Printed]) -> None:
    [running] = printed[3].documents
    assert running["state"] == "running"
    assert running["progress"]["percent"] == 40
    assert "lag" in running["freshness"]


def test_long_running_compute_operations_are_queryable(printed: list[Printed]) -> None:
    logs, resources = printed[4].documents
    assert [one["message"] for one in logs["items"]] == ["pulling web:7"]
    assert [one["kind"] for one in resources["items"]] == ["ecs.task"]


def test_tenant_can_have_concurrent_compute_operations(printed: list[Printed]) -> None:
    accepted, published = printed[5].documents
    assert accepted["execution_id"] == published["items"][0]["execution_id"] == SECOND


def test_failed_execution_includes_error_details(printed: list[Printed]) -> None:
    [failed] = printed[6].documents
    assert failed["state"] == "failed"
    assert failed["failure"]["message"] == "no more tasks in eu-west-1"
    assert failed["failure"]["next_step"]


def test_workflow_receives_notification_of_compute_completion(printed: list[Printed]) -> None:
    # Whether the stream was there before the end is a race, as it is for a reader of the README.
    told = re.findall(r"event: (\w+)\r?\ndata: (.*)", printed[7].text)
    assert [event for event, _ in told][-1] == "end"
    assert json.loads(told[-1][1])["state"] == "succeeded"


def test_successful_compute_execution_returns_resource_ids(printed: list[Printed]) -> None:
    execution, of_tenant, history = printed[8].documents
    arn = "arn:aws:ecs:eu-west-1:1:task/web/1"
    assert [one["id"] for one in execution["resources"]] == [arn]
    assert [one["id"] for one in of_tenant["items"]] == [arn]
    assert FIRST in json.dumps(history)


def test_compute_operation_transitions_through_states(printed: list[Printed]) -> None:
    transitions, _ = printed[9].documents
    states = [one["state"] for one in transitions["items"]]
    assert states == ["pending", "running", "succeeded"]


def test_compute_execution_history_is_retained(printed: list[Printed]) -> None:
    transitions, events = printed[9].documents
    assert all(one["recorded_at"] for one in transitions["items"])
    assert {one["disposition"] for one in events["items"]} == {"applied"}


def test_execution_history_shows_all_operations_for_a_tenant(printed: list[Printed]) -> None:
    [page] = printed[10].documents
    shown = [(one["execution_id"], one["state"]) for one in page["items"]]
    assert shown == [(FIRST, "succeeded"), (SECOND, "failed")]
