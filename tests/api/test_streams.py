"""Server-sent events: a snapshot, every change after it, and no gap whatever happens in between."""

import asyncio
import random
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit
from uuid import uuid4

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.events import WITHIN, Seen, Stream, history, started, stream, succeeded, tenant
from api.harness import Api, document, now, requested, running_api
from milepost.api import readers
from milepost.api.positions import event_id, vector, within
from milepost.api.routes import streams as routes
from milepost.schemas.events import Progressed
from milepost.schemas.values import Progress
from milepost.settings import Settings
from stack import Services

VECTORS = st.dictionaries(st.integers(0, 20), st.integers(0, 10**12))


def view(event: Seen) -> tuple[str, str, int]:
    """What an event is called, and the state and version that it tells of."""
    assert event.data is not None
    return event.name, event.data["state"], event.data["version"]


async def test_an_execution_is_followed_to_its_end(api: Api) -> None:
    execution_id = await api.execution("acme")
    async with stream(api.http, f"/v1/executions/{execution_id}/stream") as events:
        first = await events.event()
        assert view(first) == ("snapshot", "pending", 1)
        assert first.data is not None
        assert set(first.data["freshness"]["lag"]) == {"records", "measured_at", "age_seconds"}
        await api.log.report("acme", execution_id, started())
        assert view(await events.event()) == ("execution", "running", 2)
        await api.log.report("acme", execution_id, succeeded())
        last = await events.event()
        assert view(last) == ("end", "succeeded", 3)
        assert last.data is not None
        states = [one["state"] for one in last.data["transitions"]]
        assert states == ["pending", "running", "succeeded"]
        with pytest.raises(StopAsyncIteration):
            await events.event()


async def test_one_that_is_over_ends_at_once_and_a_browser_is_told_not_to_come_again(
    api: Api,
) -> None:
    execution_id = await api.execution("acme", started(), succeeded())
    path = f"/v1/executions/{execution_id}/stream"
    async with stream(api.http, path) as events:
        end = await events.event()
        assert view(end) == ("end", "succeeded", 3)
        with pytest.raises(StopAsyncIteration):
            await events.event()
    again = await api.http.get(path, headers={"Last-Event-ID": end.id})
    assert (again.status_code, again.content) == (204, b"")


async def test_one_that_is_only_asked_for_is_followed(api: Api) -> None:
    accepted = await api.post("/v1/tenants/acme/executions", {"operation": f"op-{uuid4()}"})
    async with stream(api.http, f"/v1/executions/{accepted['execution_id']}/stream") as events:
        assert view(await events.event()) == ("snapshot", "pending", 0)
        await api.log.report("acme", accepted["execution_id"], started())
        assert view(await events.event()) == ("execution", "running", 1)


async def test_a_tenants_stream_has_what_is_in_flight_then_every_change(api: Api) -> None:
    owner = tenant()
    over = await api.execution(owner, started(), succeeded())
    running = await api.execution(owner, started())
    pending = await api.execution(owner)
    async with stream(api.http, f"/v1/tenants/{owner}/stream") as events:
        snapshots = [await events.event(), await events.event()]
        assert [one.data and one.data["execution_id"] for one in snapshots] == [running, pending]
        ready = await events.event()
        assert (ready.name, ready.data and ready.data["complete"]) == ("ready", True)
        await api.log.report(owner, running, succeeded())
        end = await events.event()
        assert view(end) == ("end", "succeeded", 3)
        assert end.data is not None
        # The same as the fold gave its notification.
        completion = await completion_of(api, running)
        assert end.data["completion_id"] == completion
        # What changes one that was over long ago.
        late = Progressed(occurred_at=now(), progress=Progress(message="late"))
        await api.log.report(owner, over, late)
        told = await events.event()
        assert view(told) == ("end", "succeeded", 4)
        assert told.data is not None
        assert (told.data["execution_id"], told.data["completion_id"]) == (over, None)
        fresh = await api.execution(owner)
        assert (await events.version(fresh, 1)).name == "execution"


async def completion_of(api: Api, execution_id: str) -> str:
    """The id of the notification that was stored to be sent out."""
    events = (await api.get(f"/v1/executions/{execution_id}/events"))["items"]
    ends = [one for one in events if one["type"].endswith("succeeded.v1")]
    path = f"/v1/executions/{execution_id}/events/{ends[0]['partition']}/{ends[0]['offset']}"
    [sent] = (await api.get(path))["emitted"]
    return str(sent["id"])


async def test_filters(api: Api) -> None:
    owner = tenant()
    await api.execution(owner, operation="update")
    provisions = await api.execution(owner, operation="provision")
    path = f"/v1/tenants/{owner}/stream"
    async with (
        stream(api.http, path, operation="provision") as of_operation,
        stream(api.http, path, state=["succeeded", "failed"]) as ends,
    ):
        first = await of_operation.event()
        assert first.data is not None
        assert first.data["execution_id"] == provisions
        assert (await of_operation.event()).name == "ready"
        assert (await ends.event()).name == "ready"
        await api.execution(owner, started(), operation="update")
        # Which operation this is will be known later.
        request = requested(operation="provision")
        unknown = request.execution_id(owner)
        await api.log.report(owner, unknown, started())
        await api.log.report(owner, provisions, started(), succeeded())
        assert (await of_operation.event()).data["execution_id"] == unknown  # type: ignore[index]
        assert view(await of_operation.event()) == ("end", "succeeded", 3)
        assert view(await ends.event()) == ("end", "succeeded", 3)
    await api.get(path, 422, state="done")
    await api.get(path, 422, stat="failed")


async def test_tenants_are_apart(api: Api) -> None:
    ours, theirs = tenant(), tenant()
    shared = await api.execution(ours)
    async with (
        stream(api.http, f"/v1/tenants/{ours}/stream") as events,
        stream(api.http, f"/v1/executions/{shared}/stream", tenant=ours) as one,
    ):
        await events.named("ready")
        assert view(await one.event()) == ("snapshot", "pending", 1)
        # Somebody else reports under the id.
        await api.log.report(theirs, shared, succeeded())
        await api.execution(theirs, started())
        await api.log.report(ours, shared, started())
        for told in (await events.event(), await one.event()):
            assert view(told) == ("execution", "running", 2)
            assert told.data is not None
            assert told.data["tenant"] == ours
    # Positions grant nothing.
    async with stream(api.http, f"/v1/tenants/{theirs}/stream", last=event_id({})) as events:
        while (told := await events.event()).data is not None:
            assert told.data["tenant"] == theirs
        assert told.id


@pytest.mark.parametrize(
    "last", ["", "nonsense", "0:1,", "0:1,0:2", "0:-1", "99:0", "0:999999999999", "0:1" * 9_999]
)
async def test_an_id_that_is_none_of_this_logs_is_refused(api: Api, last: str) -> None:
    execution_id = await api.execution("acme")
    for path in (f"/v1/executions/{execution_id}/stream", "/v1/tenants/acme/stream"):
        response = await api.http.get(path, headers={"Last-Event-ID": last})
        assert document(response, response.status_code)["type"] in (
            "/problems/invalid-event-id", "/problems/invalid-request",
        )  # fmt: skip
        assert 400 <= response.status_code < 500


async def test_an_execution_that_nobody_knows(api: Api) -> None:
    problem = await api.get(f"/v1/executions/{uuid4()}/stream", 404)
    assert problem["type"] == "/problems/unknown-execution"


@given(VECTORS)
def test_an_id_is_a_vector(positions: dict[int, int]) -> None:
    assert vector(event_id(positions)) == positions
    assert within(positions, positions)


@given(
    batches=st.lists(st.sets(st.integers(0, 4)), max_size=12),
    taken=st.lists(st.integers(0, 6), max_size=12),
)
async def test_an_id_never_overtakes_what_is_to_come(
    batches: list[set[int]], taken: list[int]
) -> None:
    reader = readers.Reader(readers.Subject("acme"))
    newest: dict[str, list[int]] = {}
    have: dict[str, int] = {}

    async def take() -> None:
        news, until = await reader.take()
        have[news.execution_id] = int(news.document)
        for execution_id, versions in newest.items():
            due = [version for version in versions if until and version <= until[0]]
            assert have.get(execution_id, 0) >= max(due, default=0)

    for number, batch in enumerate(batches, 1):
        news = [
            readers.News(str(one), "acme", "running", None, str(number), None)
            for one in sorted(batch)
        ]
        for one in news:
            newest.setdefault(one.execution_id, []).append(number)
        reader.hear(news, {0: number})
        for _ in range(taken[number - 1] if number <= len(taken) else 0):
            if not reader.idle:
                await take()
    while not reader.idle:
        await take()
    assert have == {execution_id: versions[-1] for execution_id, versions in newest.items()}


async def test_a_completion_is_told_though_what_came_later_is_told_with_it() -> None:
    reader = readers.Reader(readers.Subject("acme"))
    ended = readers.News("1", "acme", "failed", None, "{}", "the-id")
    reader.hear([ended], {0: 1})
    reader.hear([ended._replace(document='{"late": 1}', completion_id=None)], {0: 2})
    assert await reader.take() == (ended._replace(document='{"late": 1}'), {0: 1})
    assert reader.idle


async def test_connections_cut_at_any_moment_leave_no_gap(api: Api) -> None:
    owner, cut = tenant(), random.Random(7)
    path = f"/v1/tenants/{owner}/stream"
    async with stream(api.http, path) as events:
        last = (await events.named("ready")).id
    writing = asyncio.create_task(history(api, owner, 60))
    completed: dict[str, set[str]] = {}
    connections = 0
    while not (writing.done() and completed.keys() == set(writing.result())):
        connections += 1
        async with stream(api.http, path, last=last) as events:
            for _ in range(cut.randint(1, 12)):
                event = await events.event()
                last = event.id or last
                if event.data is not None and event.data["completion_id"]:
                    found = completed.setdefault(event.data["execution_id"], set())
                    found.add(event.data["completion_id"])
                if writing.done() and completed.keys() == set(writing.result()):
                    break
    assert connections > 5
    assert all(len(ids) == 1 for ids in completed.values())


async def test_whatever_happened_since_comes_in_bounded_pieces(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("milepost.api.streams._RECORDS", 7)
    owner = tenant()
    path = f"/v1/tenants/{owner}/stream"
    async with stream(api.http, path) as events:
        last = (await events.named("ready")).id
    ids = await history(api, owner, 20)
    found: list[str] = []
    given_ids = set()
    async with stream(api.http, path, last=last) as events:
        while len(found) < len(ids):
            event = await events.event()
            given_ids.add(event.id)
            if event.data is not None and event.data["completion_id"]:
                found.append(event.data["execution_id"])
    assert sorted(found) == sorted(ids)
    assert len(given_ids) > 5


async def test_signs_of_life_move_the_id_on(settings: Settings) -> None:
    async with running_api(settings) as api:
        api.parts.streams.heartbeat_seconds = 0.1
        owner = tenant()
        async with stream(api.http, f"/v1/tenants/{owner}/stream") as events:
            first = vector((await events.named("ready")).id)
            await api.execution(tenant())
            while True:
                beat = await events.event()
                assert beat.data is None
                if not within(vector(beat.id), first):
                    break


class Slow:
    """A reader whose socket takes nothing until it is told to."""

    def __init__(self, url: str, path: str) -> None:
        self._request = f"GET {path} HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\n\r\n".encode()
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        where = urlsplit(url)
        self._where = (where.hostname, where.port)

    async def open(self) -> None:
        """Ask, and wait for the answer to begin."""
        loop = asyncio.get_running_loop()
        self._socket.setblocking(False)
        await loop.sock_connect(self._socket, self._where)
        await loop.sock_sendall(self._socket, self._request)
        seen = b""
        while b"event: ready" not in seen:
            seen += await loop.sock_recv(self._socket, 1_024)

    async def rest(self) -> bytes:
        """All that is left until the other side closes."""
        loop, seen = asyncio.get_running_loop(), bytearray()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        async with asyncio.timeout(WITHIN):
            while not seen.endswith(b"\r\n0\r\n\r\n") and (
                piece := await loop.sock_recv(self._socket, 1 << 20)
            ):
                seen += piece
        self._socket.close()
        return bytes(seen)


async def large(api: Api, owner: str, count: int) -> list[str]:
    """Executions whose views fill every buffer on the way."""
    return [await api.execution(owner, parameters={"x": "x" * 400_000}) for _ in range(count)]


async def test_a_slow_reader_is_dropped_with_a_reason_and_others_go_on(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "BUFFERED", 5)
    owner = tenant()
    slow = Slow(api.url, f"/v1/tenants/{owner}/stream")
    await slow.open()
    async with stream(api.http, f"/v1/tenants/{owner}/stream") as events:
        await events.named("ready")
        ids: list[str] = []
        for _ in range(40):
            ids += await large(api, owner, 1)
            await events.version(ids[-1], 1)
    said = (await slow.rest()).decode()
    assert (
        'event: dropped\ndata: {"reason":"more than 5 executions, or 32 MiB of them, have changed'
        in said
    )
    assert "\nretry: " in said.rpartition("event: dropped")[2]
    assert said.count("event: execution\n") < len(ids)
    # Without a gap, from the last id on.
    last = said.rpartition("\nid: ")[2].partition("\n")[0] if "\nid: " in said else None
    async with stream(api.http, f"/v1/tenants/{owner}/stream", last=last) as events:
        await events.version(ids[-1], 1)


async def test_a_reader_that_takes_nothing_is_let_go(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes, "SEND_SECONDS", 0.2)
    owner, dropped = tenant(), asyncio.Event()
    monkeypatch.setattr(routes._log, "warning", lambda *_, **__: dropped.set(), raising=False)
    slow = Slow(api.url, f"/v1/tenants/{owner}/stream")
    await slow.open()
    ids = await large(api, owner, 40)
    await asyncio.wait_for(dropped.wait(), WITHIN)
    assert (await slow.rest()).count(b"event: execution\n") < len(ids)


async def test_many_streams_at_once(api: Api) -> None:
    owner = tenant()
    limits = httpx2.Limits(max_connections=None)
    async with (
        httpx2.AsyncClient(base_url=api.url, trust_env=False, timeout=30, limits=limits) as http,
        opened(http, f"/v1/tenants/{owner}/stream", 200) as streams,
    ):
        execution_id = await api.execution(owner, started(), succeeded())
        ends = await asyncio.gather(*(one.version(execution_id, 3) for one in streams))
    assert {view(end) for end in ends} == {("end", "succeeded", 3)}


@asynccontextmanager
async def opened(http: httpx2.AsyncClient, path: str, count: int) -> AsyncIterator[list[Stream]]:
    """So many streams that are ready."""
    contexts = [stream(http, path) for _ in range(count)]
    streams = await asyncio.gather(*(one.__aenter__() for one in contexts))
    try:
        await asyncio.gather(*(one.named("ready") for one in streams))
        yield streams
    finally:
        await asyncio.gather(*(one.__aexit__(None, None, None) for one in contexts))


async def test_an_api_that_is_killed_leaves_no_gap(api: Api, service: Services) -> None:
    owner = tenant()
    path = f"/v1/tenants/{owner}/stream"
    first = await service("api")
    async with (
        httpx2.AsyncClient(base_url=first.ready["api"], trust_env=False) as http,
        stream(http, path) as events,
    ):
        await events.named("ready")
        [before] = await history(api, owner, 1)
        last = (await events.version(before, 3)).id
        await first.kill()
        with pytest.raises(httpx2.TransportError):
            await events.event()
    ids = await history(api, owner, 3)
    second = await service("api")
    async with (
        httpx2.AsyncClient(base_url=second.ready["api"], trust_env=False) as http,
        stream(http, path, last=last) as events,
    ):
        for execution_id in ids:
            assert view(await events.version(execution_id, 3)) == ("end", "succeeded", 3)


async def test_when_the_api_stops_streams_end_with_when_to_come_again(
    api: Api, service: Services
) -> None:
    running = await service("api")
    execution_id = await api.execution("acme")
    path = f"/v1/executions/{execution_id}/stream"
    async with httpx2.AsyncClient(base_url=running.ready["api"], trust_env=False) as http:
        async with http.sse(path) as source:
            events = aiter(source)
            assert (await anext(events)).event == "snapshot"
            stopping = asyncio.create_task(running.stop())
            farewell = await anext(events)
            assert farewell.retry is not None
            assert farewell.data == ""
            with pytest.raises(StopAsyncIteration):
                await anext(events)
        assert await stopping == 0


async def test_a_shut_down_takes_no_new_streams(settings: Settings) -> None:
    async with running_api(settings) as api:
        api.parts.streams.close()
        problem = await api.get("/v1/tenants/acme/stream", 503)
        assert problem["type"] == "/problems/shutting-down"


async def test_what_others_did_meanwhile_is_gone_over_in_bounded_pieces(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = tenant()
    path = f"/v1/tenants/{owner}/stream"
    async with stream(api.http, path) as events:
        last = (await events.named("ready")).id
    await history(api, tenant(), 10)
    [execution_id] = await history(api, owner, 1)
    monkeypatch.setattr("milepost.projections.queries.changes.SPAN", 4)
    ids: list[str] = []
    async with stream(api.http, path, last=last) as events:
        while (event := await events.event()).data is None:
            ids.append(event.id)
    assert event.data["execution_id"] == execution_id
    assert len(set(ids)) >= 3
