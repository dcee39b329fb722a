"""milepost doctor: a healthy stack is healthy, and whatever is wrong is named, with the remedy."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import asyncpg
import pytest

from cli.conftest import milepost
from conftest import StartService
from doctor.broken import spoilt
from milepost.cli.doctor import doctor
from milepost.cli.failures import USAGE, Unable
from milepost.doctor import CHECKS, Report, Severity, examination, examine, lag
from milepost.doctor.broker import lacking
from milepost.doctor.clocks import apart
from milepost.settings import Settings
from processor.history import execution, send
from signals import following
from stack import environment

NOBODY = "127.0.0.1:1"
PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "doctor.md"


@pytest.fixture(scope="module")
async def broken(
    kafka: str, postgres: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Settings]:
    keys = tmp_path_factory.mktemp("issuer") / "keys.json"
    keys.write_text('{"keys": []}')
    async with spoilt(kafka, postgres, keys) as settings:
        yield settings


@pytest.fixture(scope="module")
async def report(broken: Settings) -> Report:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(lag, "LATE", timedelta(0))
        return await examine(broken)


def troubles(report: Report) -> dict[str, list[str]]:
    """What is not well, by check."""
    return {
        check: [one.found for one in findings if one.severity not in ("ok", "skipped")]
        for check, findings in report.items()
        if any(one.severity not in ("ok", "skipped") for one in findings)
    }


async def test_a_healthy_stack_and_then_a_stopped_processor(
    settings: Settings, service: StartService, tmp_path: Path
) -> None:
    worker = await service("processor")
    api = await service("api")
    settings = settings.model_copy(update={"api_url": api.ready["api"]})
    await send(settings, execution("acme", "one"))
    async with following(settings) as positions:
        await positions.reach_end()
    ended = await milepost("doctor", cwd=tmp_path, **environment(settings))
    assert ended.status == 0, ended
    assert "ok       positions    4 agree with the broker" in ended.out
    assert "skipped  issuer       MILEPOST_JWT_JWKS is not set" in ended.out
    report = await examine(settings)
    assert list(report) == list(CHECKS)
    # The server of the tests is not made to outlive a crash.
    assert troubles(report).keys() <= {"durability"}, report
    skipped = [name for name, [first, *_] in report.items() if first.severity == Severity.SKIPPED]
    assert skipped == ["issuer"]

    await worker.stop()
    [found] = (await examine(settings, ["processor"]))["processor"]
    assert found.severity == Severity.ERROR
    assert "no processor runs; the last one reported 0:00:" in found.found
    assert found.where == f"consumer group {settings.consumer_group}"
    assert "milepost processor" in str(found.remedy)


@pytest.mark.parametrize(
    ("check", "severity", "found", "remedy"),
    [
        ("topics", "error", "quarantine.v1 does not exist", "milepost topics apply"),
        ("topics", "error", "retention.ms=60000, not 1209600000", "milepost topics apply"),
        ("topics", "error", "CreateTime, not LogAppendTime", "milepost topics apply"),
        ("server", "error", "its transactions are read-only", "default_transaction_read_only = off"),
        ("durability", "warning", "synchronous_commit is off", "SET synchronous_commit = on"),
        ("migrations", "error", "not applied: 0009_api_keys", "milepost db migrate"),
        ("migrations", "warning", "newer version: 9999_newer", "Install the version"),
        ("months", "error", "no partition for this month", "milepost db maintain"),
        ("months", "warning", "for the coming months", "milepost db maintain"),
        ("months", "warning", "in event_log_default, of the months 2020-02", "milepost db maintain"),
        ("positions", "error", "/0: Postgres expects offset 99, the broker ends at 0", "Restore"),
        ("positions", "error", "/1: the record at offset 0 is not the one", "Restore"),
        ("positions", "error", "/5: Postgres has a position, the broker no such", "Restore"),
        ("processor", "error", "no processor runs", "milepost processor"),
        ("fold", "warning", "2 records wait to be folded, the oldest for", "start more"),
        ("relay", "error", "/0: folded up to 99, but neither", "Set positions.relayed"),
        ("relay", "warning", "the oldest for 1:00:0", "start more"),
        ("clocks", "warning", "the broker's clock is 0:50:00 behind", "NTP"),
        ("silent", "warning", "1 executions of globex", "list --tenant globex --silent"),
        ("quarantine", "warning", "1 records put aside in the last 24 hours: not_json", "7 1"),
        ("requests", "error", "1 accepted requests are not published", "milepost api"),
        ("webhooks", "error", "1 deliveries are due, the oldest for 1:00:0", "milepost webhooks"),
        ("webhooks", "warning", "disabled: gone", "webhooks enable 00000000-0000-0000-0000-000000000003"),
        ("webhooks", "warning", "nothing sent to it has arrived for", "webhooks show 00000000"),
        ("generation", "warning", "a rebuild was interrupted", "milepost projections rebuild"),
        ("generation", "error", "version 1000 of the fold", "milepost projections rollback"),
        ("api", "error", "no answer", "milepost api"),
        ("issuer", "error", "none of its keys can be used", "MILEPOST_JWT_JWKS"),
    ],
)  # fmt: skip
def test_each_of_many_mistakes_is_named(
    report: Report, check: str, severity: str, found: str, remedy: str
) -> None:
    matching = [one for one in report[check] if found in one.found]
    assert [one.severity for one in matching] == [severity], report[check]
    assert remedy in str(matching[0].remedy)


def test_what_is_no_mistake_is_not_named(report: Report) -> None:
    expected = {"topics": 3, "migrations": 2, "months": 3, "positions": 3, "webhooks": 3}
    found = troubles(report)
    assert {name: len(found[name]) for name in expected} == expected, found
    assert found.keys().isdisjoint({"broker", "replicas", "database", "rights"})


async def test_the_command_ends_with_1_and_tells_machines(broken: Settings, tmp_path: Path) -> None:
    command = ("doctor", "--only", "topics", "migrations", "-o", "json")
    ended = await milepost(*command, cwd=tmp_path, **environment(broken))
    assert ended.status == 1, ended
    told = json.loads(ended.out)
    assert told["healthy"] is False
    # Those that they need are run as well.
    assert {one["check"] for one in told["findings"]} == {
        "broker", "topics", "database", "migrations",
    }  # fmt: skip
    gone = f"{broken.topics.quarantine} does not exist"
    assert {
        "check": "topics",
        "severity": "error",
        "found": gone,
        "where": f"Kafka at {broken.kafka_bootstrap_servers}",
        "remedy": "milepost topics apply",
    } in told["findings"]


async def test_a_broker_and_a_database_that_are_away() -> None:
    url = f"postgresql://me:hidden@{NOBODY}/milepost"
    report = await examine(Settings(kafka_bootstrap_servers=NOBODY, database_url=url))
    assert troubles(report) == {
        "broker": ["no broker answered"],
        "database": ["nothing listens there"],
    }
    assert report["topics"][0].found == "because of broker: no broker answered"
    assert report["months"][0].found == "because of database: nothing listens there"
    assert "MILEPOST_KAFKA_BOOTSTRAP_SERVERS" in str(report["broker"][0].remedy)
    assert "MILEPOST_DATABASE_URL" in str(report["database"][0].remedy)
    assert "hidden" not in repr(report)


async def test_servers_that_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examination, "DEADLINE", 0.3)
    ended = asyncio.Event()

    async def hang(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await ended.wait()
        writer.close()

    async with await asyncio.start_server(hang, "127.0.0.1", 0) as server:
        place = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with asyncio.timeout(5):
            report = await examine(
                Settings(
                    kafka_bootstrap_servers=place,
                    database_url=f"postgresql://me@{place}/milepost",
                    api_url=f"http://{place}",
                )
            )
        ended.set()
    hung = ["no answer within 0.3 s"]
    assert troubles(report) == {"broker": hung, "database": hung, "api": hung}


async def test_a_role_with_fewer_rights_and_a_wrong_password(
    broken: Settings, postgres: str
) -> None:
    role = f"doctor_{broken.consumer_group[-12:]}"
    connection = await asyncpg.connect(postgres)
    await connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'right'")
    try:
        place = broken.database_place
        settings = broken.model_copy(
            update={"database_url": type(broken.database_url)(f"postgresql://{role}:right@{place}")}
        )
        report = await examine(settings, ["rights", "requests"])
        found = troubles(report)["rights"]
        assert "UPDATE on executions" in found[0]
        assert "may not act as milepost_api" in found[-1]
        [unseen] = report["requests"]
        assert unseen.severity == Severity.SKIPPED
        assert "permission denied for table requests" in unseen.found

        wrong = type(broken.database_url)(f"postgresql://{role}:hidden@{place}")
        report = await examine(broken.model_copy(update={"database_url": wrong}), ["database"])
        [refused] = report["database"]
        assert "does not let us in" in refused.found
        assert "password" in str(refused.remedy)
        assert "hidden" not in repr(report)
    finally:
        await connection.execute(f"DROP ROLE {role}")
        await connection.close()


async def test_a_database_without_the_schema(postgres: str) -> None:
    report = await examine(Settings(database_url=postgres), ["migrations", "months", "silent"])
    assert "not applied: 0001_projections" in report["migrations"][0].found
    for name in ("months", "silent"):
        assert report[name][0].severity == Severity.SKIPPED
        assert report[name][0].found.startswith("because of migrations: ")


def test_a_check_that_there_is_not() -> None:
    with pytest.raises(
        Unable, match=r"no check brocker\. The checks are broker, topics"
    ) as refused:
        doctor(only=["topics", "brocker"])
    assert refused.value.status == USAGE


def test_a_clock_is_wrong_only_for_certain() -> None:
    hour = timedelta(hours=1)
    assert apart(hour, 2 * hour) == hour
    assert apart(-2 * hour, -hour) == -hour
    assert apart(-hour, hour) is None


def test_a_broker_without_transactions() -> None:
    assert lacking(range(80)) == []
    assert lacking([0, 1, 3, 22, 28]) == ["EndTxn"]


def test_every_check_has_its_entry_on_the_page() -> None:
    headings = [line[4:] for line in PAGE.read_text().splitlines() if line.startswith("### ")]
    assert headings == [f"`{name}`" for name in CHECKS]
