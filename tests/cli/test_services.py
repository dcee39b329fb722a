"""`milepost topics apply` and `milepost db migrate` on servers that are there."""

import json
from pathlib import Path

from cli.conftest import milepost
from milepost.settings import Settings
from stack import environment


async def test_topics_are_created_once_with_a_line_for_each(
    settings: Settings, tmp_path: Path
) -> None:
    variables = environment(settings) | {"MILEPOST_TOPIC_PREFIX": f"{settings.topic_prefix}new."}
    first = await milepost("topics", "apply", "--partitions", "1", cwd=tmp_path, **variables)
    assert first.status == 0
    again = await milepost("topics", "apply", "-o", "json", cwd=tmp_path, **variables)
    applied = json.loads(again.out)
    assert {one["outcome"] for one in applied} == {"unchanged"}
    assert first.out.splitlines() == [f"created   {one['name']}" for one in applied]


async def test_a_processor_whose_topics_are_missing_says_what_to_run(
    settings: Settings, tmp_path: Path
) -> None:
    variables = environment(settings) | {
        "MILEPOST_TOPIC_PREFIX": "missing.",
        "MILEPOST_LOG_LEVEL": "info",
    }
    ended = await milepost("processor", cwd=tmp_path, **variables)
    assert ended.status == 78
    assert "missing.events.v1 does not exist" in ended.err
    assert "Run: milepost topics apply" in ended.err
    assert "Traceback" not in ended.err


async def test_migrating_a_database_that_has_the_schema_changes_nothing(
    settings: Settings, tmp_path: Path
) -> None:
    ended = await milepost("db", "migrate", cwd=tmp_path, **environment(settings))
    assert (ended.status, ended.out) == (0, "")
    assert "this version's schema" in ended.err
