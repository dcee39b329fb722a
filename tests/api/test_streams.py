"""Server-sent events: a snapshot, every change after it, and no gap whatever happens in between."""

from uuid import uuid4

from api.events import stream
from api.harness import Api, document, now
from milepost.schemas.events import Started, Succeeded


async def test_an_execution_is_followed_to_its_end(api: Api) -> None:
    execution_id = await api.execution("acme")
    async with stream(api.http, f"/v1/executions/{execution_id}/stream") as events:
        first = await events.event()
        assert first.name == "snapshot"
        assert first.data is not None
        assert (first.data["state"], first.data["version"]) == ("pending", 1)
        assert set(first.data["freshness"]["lag"]) == {"records", "measured_at", "age_seconds"}
        await api.log.report("acme", execution_id, Started(occurred_at=now()))
        second = await events.event()
        assert second.data is not None
        assert (second.name, second.data["state"]) == ("execution", "running")
        await api.log.report("acme", execution_id, Succeeded(occurred_at=now()))
        last = await events.event()
        assert last.data is not None
        assert (last.name, last.data["state"]) == ("end", "succeeded")
        assert [one.get("state") for one in last.data["transitions"]] == [
            "pending", "running", "succeeded",
        ]  # fmt: skip
