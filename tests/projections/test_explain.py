"""Every raw record can be explained: what became of it, why, and what it held."""

import json
from collections.abc import AsyncIterator

import asyncpg
import pytest
from hypothesis import given

from milepost.projections.batch import decode_all, fold
from milepost.projections.explain import WHY, Explanation, NotInLog, explain, why
from milepost.schemas.values import Failure
from projections.histories import law, logs
from projections.runs import TOPICS, Record
from projections.stored import Log, connected


@pytest.fixture(scope="module")
async def pool(database: str) -> AsyncIterator[asyncpg.Pool]:
    async with await connected(database, size=1) as pool:
        yield pool


@pytest.fixture
async def log(pool: asyncpg.Pool, database: str) -> AsyncIterator[Log]:
    look = await asyncpg.connect(database)
    yield Log(pool, look)
    await look.close()


async def explained(log: Log, offset: int) -> Explanation:
    return await explain(log.look, log.topic, 0, offset)


@law
@given(logs())
def test_whatever_the_fold_says_has_a_sentence(history: list[Record]) -> None:
    for row in fold(decode_all(history), {}, TOPICS).log:
        sentence = why(row.disposition, row.reason)
        assert not sentence.startswith("The fold called it"), (row.disposition, row.reason)
        assert sentence[0].isupper()
        assert sentence.endswith(".")


def test_what_a_later_fold_may_say_is_at_least_repeated() -> None:
    assert why("applied", "novel") == "The fold called it applied (novel)."
    assert {disposition for disposition, _ in WHY} == {
        *("applied", "late", "duplicate", "stale", "conflicting"),
    }


async def test_a_transition_with_all_there_is_to_say(log: Log) -> None:
    run = log.run()
    failure = Failure(code="timed_out", message="Zeit abgelaufen: zu spät")
    await log.write(
        run.requested(), run.failed(at=5, reported=6, recorded=12, failure=failure, sequence=7)
    )
    found = await explained(log, 1)
    assert (found.disposition, found.reason) == ("applied", None)
    assert (found.execution_id, found.tenant, found.ordinal) == (run.execution_id, log.tenant, 2)
    assert found.transition == "failed"
    assert found.occurred_at is not None
    assert found.reported_at is not None
    minutes = [
        (time - found.occurred_at).total_seconds() / 60
        for time in (found.occurred_at, found.reported_at, found.recorded_at)
    ]
    assert (minutes, found.skewed) == ([0, 1, 7], True)
    assert found.event is not None
    assert (found.event["type"], found.event["sequence"]) == ("milepost.execution.failed.v1", 7)
    assert found.event["data"]["failure"]["message"] == failure.message
    [sent] = found.emitted
    assert sent["topic"] == f"{log.topics.prefix}failed.v1"
    assert sent["type"] == "milepost.completion.failed.v1"
    assert json.loads(sent["value"])["state"] == "failed"
    assert found.key == run.execution_id
    assert ("ce_tenantid", log.tenant) in found.headers
    assert found.value is not None
    assert found.value_bytes == len(found.value.encode()) > len(found.value)


async def test_the_command_that_a_request_caused(log: Log) -> None:
    await log.write(log.run().requested())
    found = await explained(log, 0)
    assert found.transition == "pending"
    assert [sent["type"] for sent in found.emitted] == ["milepost.command.start.v1"]


async def test_a_repeat_has_no_effect_and_no_transition(log: Log) -> None:
    run = log.run()
    await log.write(run.started(), run.started())
    found = await explained(log, 1)
    assert (found.disposition, found.transition, found.emitted) == ("duplicate", None, [])
    assert "had been folded" in found.why


async def test_what_is_no_event(log: Log) -> None:
    raw = Record(log.topic, 0, 0, 10**12, b"\xff\x00key", b"\xfe{", [("h", None), ("i", b"\xff")])
    await log.write(raw)
    found = await explained(log, 0)
    assert found.disposition == "quarantined"
    assert found.why.startswith("It cannot be an event: ")
    assert (found.execution_id, found.tenant, found.ordinal) == (None, None, None)
    assert (found.event, found.occurred_at, found.reported_at) == (None, None, None)
    assert (found.key, found.value) == ("\\xff\0key", "\\xfe{")
    assert found.headers == [("h", None), ("i", "\\xff")]
    [sent] = found.emitted
    assert (sent["topic"], sent["type"]) == (log.topics.quarantine, "milepost.quarantine.v1")


async def test_a_record_that_is_not_there(log: Log) -> None:
    await log.write(log.run().requested(), start=0)
    for place, what in (
        ((log.topic, 0, 1), "up to, without, offset 1"),
        ((log.topic, 0, 2**70), "up to, without, offset 1"),
        ((log.topic, 0, -1), "a transaction's marker"),
        ((log.topic, 3, 0), "Its folded partitions: 0."),
        ((log.topic, 2**40, 0), "Its folded partitions: 0."),
        (("elsewhere", 0, 0), log.topic),
    ):
        with pytest.raises(NotInLog, match=what):
            await explain(log.look, *place)
