"""The topics as declared."""

import pytest

from milepost.schemas.topics import MAX_EVENT_BYTES, MAX_OUTGOING_BYTES, Topics
from milepost.schemas.values import TERMINAL

DAY = 86_400_000


def test_every_topic_is_declared_once() -> None:
    topics = Topics()
    names = [topic.name for topic in topics.declared()]
    expected = {topics.events, topics.commands, topics.quarantine}
    expected |= {topics.completions(state) for state in TERMINAL}
    assert sorted(names) == sorted(expected)


def test_the_broker_stamps_every_record() -> None:
    for topic in Topics().declared():
        assert topic.config()["message.timestamp.type"] == "LogAppendTime"
        assert topic.config()["cleanup.policy"] == "delete"


@pytest.mark.parametrize(
    ("name", "days", "size"),
    [
        ("events", 14, MAX_EVENT_BYTES),
        ("commands", 14, MAX_OUTGOING_BYTES),
        ("succeeded", 30, MAX_OUTGOING_BYTES),
        ("failed", 30, MAX_OUTGOING_BYTES),
        ("cancelled", 30, MAX_OUTGOING_BYTES),
        ("quarantine", 30, MAX_OUTGOING_BYTES),
    ],
)
def test_retention_and_sizes_are_those_of_the_design(name: str, days: int, size: int) -> None:
    declared = {topic.name: topic for topic in Topics().declared()}
    config = declared[f"milepost.executions.{name}.v1"].config()
    assert config["retention.ms"] == str(days * DAY)
    assert config["max.message.bytes"] == str(size)


def test_the_prefix_is_everywhere() -> None:
    topics = Topics("test-7.")
    assert {topic.name.split(".")[0] for topic in topics.declared()} == {"test-7"}
    assert topics.events == "test-7.events.v1"
