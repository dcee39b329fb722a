"""What the API says of executions whose months have left the log."""

from datetime import UTC, datetime

import asyncpg
import pytest

from api.events import started, stream, succeeded
from api.harness import Api, document, now, requested
from api.test_history import logged
from milepost.client import MilepostClient
from milepost.projections.retention import archive_months

OLD = datetime(2019, 8, 10, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
async def execution_id(api: Api, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An execution with three records in an archived month and one in the log."""
    request = requested()
    execution_id = request.execution_id("acme")
    events = (request, logged("pulling"), succeeded())
    await api.log.report("acme", execution_id, *events, recorded_at=OLD)
    await api.log.report("acme", execution_id, logged("too late"), event_id="late")
    connection = await asyncpg.connect(api.settings.dsn)
    await connection.execute("UPDATE positions SET relayed = next_offset")
    await connection.close()
    folder = tmp_path_factory.mktemp("archive")
    [month] = await archive_months(api.settings.dsn, folder, 12, now())
    assert month.archived, month
    return execution_id


async def test_the_execution_is_there_and_its_records_are_said_to_be_archived(
    api: Api, execution_id: str
) -> None:
    path = f"/v1/executions/{execution_id}"
    assert (await api.get(path))["state"] == "succeeded"
    events = await api.get(f"{path}/events")
    assert [item["ordinal"] for item in events["items"]] == [4]
    assert events["archived"]["records"] == 3
    [month] = events["archived"]["months"]
    assert (month["month"], month["file"]) == ("2019-08", "event_log_2019_08.jsonl.gz")
    assert len(month["sha256"]) == 64
    logs = await api.get(f"{path}/logs")
    assert [item["message"] for item in logs["items"]] == ["too late"]
    assert logs["archived"] == events["archived"]
    [first, *_] = (await api.get(f"{path}/transitions"))["items"]
    problem = await api.get(first["record"], 410)
    assert problem["type"] == "/problems/record-archived"
    assert "event_log_2019_08.jsonl.gz" in problem["detail"]


async def test_the_client_warns_that_lines_are_missing(
    api: Api, execution_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with MilepostClient(api.url) as client:
        lines = [one.message async for one in client.logs(execution_id)]
    assert lines == ["too late"]
    [warned] = [one for one in caplog.messages if execution_id in one and "archived" in one]
    assert warned.startswith("3 records of ")


async def test_one_that_is_in_the_log_has_nothing_archived(api: Api, execution_id: str) -> None:
    young = await api.execution("acme", started())
    assert (await api.get(f"/v1/executions/{young}/events"))["archived"] is None
    assert (await api.get(f"/v1/executions/{young}/logs"))["archived"] is None


async def test_a_stream_is_not_resumed_from_before_what_was_archived(
    api: Api, execution_id: str
) -> None:
    path = "/v1/tenants/acme/stream"
    for id_ in ("0:2", "-"):
        answer = await api.http.get(path, headers={"Last-Event-ID": id_})
        problem = document(answer, 410)
        assert problem["type"] == "/problems/event-id-expired"
        assert "partition 0" in problem["detail"]
        assert "start again without it" in problem["detail"]
    async with stream(api.http, path, "0:3") as events:
        assert (await events.event()).name == "end"
    # An execution's begins with how it is: nothing is skipped.
    async with stream(api.http, f"/v1/executions/{execution_id}/stream", "0:1") as events:
        assert (await events.event()).name == "end"
