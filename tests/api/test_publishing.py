"""Events over HTTP: the three forms of the CloudEvents binding, and what is wrong with a request."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx2
import orjson
import pytest
from cloudevents.core.bindings.http import to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings

from api.callers import Guarded, guarded_api
from api.harness import Api, document, requested
from milepost.api.cloudevents import BATCH_TYPE, BINARY_TYPE, STRUCTURED_TYPE
from milepost.schemas.events import EVENTS, EventData
from milepost.schemas.examples import Example, examples
from milepost.schemas.values import BIGINT
from milepost.settings import Settings
from schemas.strategies import encodings

PATH = "/v1/events"
STARTED = "milepost.execution.started.v1"


def attributes(**other: Any) -> dict[str, Any]:
    """The attributes of a `started` of an execution of its own."""
    given = {
        "specversion": "1.0",
        "id": str(uuid4()),
        "source": "/providers/ecs/zürich 1",
        "type": STARTED,
        "time": datetime(2026, 1, 15, 9, 30, tzinfo=UTC),
        "subject": str(uuid4()),
        "tenantid": "acme",
        **other,
    }
    return {name: value for name, value in given.items() if value is not None}


DATA: dict[str, Any] = {"occurred_at": "2026-01-15T09:30:00Z", "details": {"zone": "ü"}}


def envelope(data: Any = DATA, **other: Any) -> dict[str, Any]:
    """A structured event."""
    named = attributes(**other)
    if "time" in named and isinstance(named["time"], datetime):
        named["time"] = named["time"].isoformat()
    return {**named, "data": data}


async def post(api: Api, body: Any, media_type: str = STRUCTURED_TYPE) -> httpx2.Response:
    """What an event, or a batch of them, gets."""
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    headers = {"content-type": f"{media_type}; charset=utf-8"}
    return await api.http.post(PATH, content=content, headers=headers)


@pytest.mark.parametrize("mode", ["binary", "structured"])
async def test_what_the_cloudevents_sdk_makes_is_published(api: Api, mode: str) -> None:
    event = CloudEvent(attributes(datacontenttype="application/json", sequence="7"), DATA)
    message = to_binary_event(event) if mode == "binary" else to_structured_event(event)
    response = await api.http.post(PATH, content=message.body, headers=message.headers)
    [answer] = document(response, 202)["items"]
    [seen] = [one for one in await api.published() if one.id == event.get_id()]
    assert answer == {
        "execution_id": event.get_subject(),
        "tenant": "acme",
        "event_id": event.get_id(),
        "partition": seen.partition,
        "offset": seen.offset,
    }
    assert (seen.source, seen.type, seen.sequence) == (event.get_source(), STARTED, 7)
    assert seen.data.model_dump(mode="json", exclude_none=True) == DATA


@pytest.mark.parametrize("example", [*examples()], ids=lambda one: f"{one.type}-{one.name}")
async def test_every_example_of_the_contract_is_taken(api: Api, example: Example) -> None:
    record = example.record
    headers = dict(record.headers)
    if headers["content-type"] == STRUCTURED_TYPE.encode():
        response = await post(api, record.value)
    else:
        named = {name.replace("ce_", "ce-").encode(): value for name, value in record.headers}
        response = await api.http.post(PATH, content=record.value, headers=named)
    document(response, 202)


async def test_a_batch_is_published_whole_and_in_its_order(api: Api) -> None:
    request = requested()
    id_ = request.execution_id("batch")
    batch = [
        envelope(
            orjson.loads(request.model_dump_json(exclude_none=True)),
            type="milepost.execution.requested.v1", subject=id_, tenantid="batch",
        ),
        envelope(subject=id_, tenantid="batch"),
        envelope({"occurred_at": "2026-01-15T09:31:00Z"}, tenantid="other"),
    ]  # fmt: skip
    items = document(await post(api, batch, BATCH_TYPE), 202)["items"]
    assert [item["event_id"] for item in items] == [event["id"] for event in batch]
    assert [item["tenant"] for item in items] == ["batch", "batch", "other"]
    seen = {one.id: (one.partition, one.offset) for one in await api.published()}
    assert [seen[item["event_id"]] for item in items] == [
        (item["partition"], item["offset"]) for item in items
    ]
    assert items[0]["offset"] < items[1]["offset"]


async def test_a_batch_with_one_event_that_is_not_valid_is_not_published(api: Api) -> None:
    before = len(await api.published())
    batch = [
        envelope(),
        envelope({"occurred_at": "now", "resources": [{"kind": "POD", "id": ""}]}),
        envelope(tenantid="a b"),
        1,
    ]
    problem = document(await post(api, batch, BATCH_TYPE), 422)
    assert [error["pointer"] for error in problem["errors"]] == [
        "#/1/data/occurred_at",
        "#/1/data/resources/0/kind",
        "#/1/data/resources/0/id",
        "#/2/tenantid",
        "#/3",
    ]
    assert len(await api.published()) == before


async def test_the_same_event_again_has_no_effect(api: Api) -> None:
    event = envelope()
    for _ in range(2):
        document(await post(api, event), 202)
    seen = [one for one in await api.published() if one.id == event["id"]]
    assert len({(one.source, one.id) for one in seen}) == 1
    assert len(seen) == 2


@pytest.mark.parametrize(
    ("event", "pointer"),
    [
        *((envelope(**{name: None}), f"#/{name}") for name in attributes()),
        (envelope(specversion="0.3"), "#/specversion"),
        (envelope(id=""), "#/id"),
        (envelope(id="\0"), "#/id"),
        (envelope(source="x" * 513), "#/source"),
        (envelope(type="milepost.execution.exploded.v1"), "#/type"),
        (envelope(time="yesterday"), "#/time"),
        (envelope(subject="x"), "#/subject"),
        (envelope(subject=5), "#/subject"),
        (envelope(tenantid="a b"), "#/tenantid"),
        (envelope(sequence=-1), "#/sequence"),
        (envelope(sequence=BIGINT), "#/sequence"),
        (envelope(extension={}), "#/extension"),
        (envelope(None), "#/data"),
        (envelope([]), "#/data"),
        ({**attributes(time="2026-01-01T00:00:00Z"), "data_base64": "e30="}, "#/data"),
        (envelope({}), "#/data/occurred_at"),
        (envelope({**DATA, "details": {"a": "\0"}}), "#/data/details"),
        (envelope({"occurred_at": "2026-01-15T09:30:00Z", "labels": {"a/b~": 1}}), None),
        (
            envelope(
                {**DATA, "operation": "x", "labels": {"a/b~.c": "v"}},
                type="milepost.execution.requested.v1",
            ),
            "#/data/labels/a~1b~0.c/[key]",
        ),
        (
            envelope({**DATA, "operation": "x"}, type="milepost.execution.requested.v1"),
            "#/subject",
        ),
        ([], "#"),
        ("text", "#"),
    ],
)
async def test_a_structured_event_that_is_not_valid(
    api: Api, event: Any, pointer: str | None
) -> None:
    response = await post(api, event)
    if pointer is None:  # members that this version does not know are for others
        document(response, 202)
        return
    problem = document(response, 422)
    assert problem["type"] == "/problems/invalid-request"
    assert problem["errors"][0]["pointer"] == pointer
    assert pointer in problem["detail"]


@pytest.mark.parametrize(
    ("headers", "data", "where"),
    [
        ([("ce-id", "")], DATA, {"parameter": "ce-id"}),
        ([("ce-id", "%ff")], DATA, {"parameter": "ce-id"}),
        ([("ce-id", "one"), ("ce-id", "two")], DATA, {"parameter": "ce-id"}),
        ([("ce-subject", "x")], DATA, {"parameter": "ce-subject"}),
        ([("ce-specversion", "2.0")], DATA, {"parameter": "ce-specversion"}),
        ([], {}, {"pointer": "#/occurred_at"}),
        ([], [], {"pointer": "#"}),
    ],
)
async def test_a_binary_event_that_is_not_valid(
    api: Api, headers: list[tuple[str, str]], data: Any, where: dict[str, str]
) -> None:
    replaced = {name for name, _ in headers}
    named = to_binary_event(CloudEvent(attributes(datacontenttype=BINARY_TYPE), DATA)).headers
    kept = [(name, value) for name, value in named.items() if name not in replaced]
    response = await api.http.post(PATH, content=orjson.dumps(data), headers=kept + headers)
    [error, *_] = document(response, 422)["errors"]
    assert {name: error[name] for name in where} == where


async def test_a_header_may_be_quoted(api: Api) -> None:
    event = CloudEvent(attributes(datacontenttype=BINARY_TYPE), DATA)
    message = to_binary_event(event)
    headers = message.headers | {"ce-id": r'"a \"b\" \\ %E2%82%AC"'}
    [item] = document(await api.http.post(PATH, content=message.body, headers=headers), 202)[
        "items"
    ]
    assert item["event_id"] == 'a "b" \\ €'


@pytest.mark.parametrize("media_type", [STRUCTURED_TYPE, BATCH_TYPE, BINARY_TYPE])
@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b'{"id": NaN}', b"[" * 100_000])
async def test_a_body_that_is_no_json(api: Api, media_type: str, content: bytes) -> None:
    problem = document(await post(api, content, media_type), 400)
    assert problem["type"] == "/problems/malformed-body"


@pytest.mark.parametrize("batch", [[], {}, [envelope()] * 501])
async def test_a_batch_of_no_or_too_many_events(api: Api, batch: Any) -> None:
    problem = document(await post(api, batch, BATCH_TYPE), 422)
    assert problem["errors"][0]["pointer"] == "#"


async def test_another_media_type_is_refused(api: Api) -> None:
    for headers in ({}, {"content-type": "text/plain"}, {"content-type": "application/xml"}):
        response = await api.http.post(PATH, content=b"{}", headers=headers)
        problem = document(response, 415)
        assert problem["type"] == "/problems/unsupported-media-type"


async def test_an_event_that_fills_more_than_a_record_is_refused(api: Api) -> None:
    data = {**DATA, "details": {"a": "x" * 1_046_000}}
    for event in (envelope(data), envelope({**DATA, "details": {"a": "x" * 1_048_576}})):
        problem = document(await post(api, event), 413)
        assert problem["type"] == "/problems/body-too-large"


@hypothesis_settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(encoding=encodings())
async def test_whatever_the_contract_allows_is_published(
    api: Api, encoding: tuple[EventData, dict[str, Any]]
) -> None:
    data, named = encoding
    event = envelope(
        orjson.loads(data.model_dump_json(exclude_none=True)),
        type=data.type, tenantid=named["tenant"], subject=named["execution_id"],
        time=named["reported"], id=named["event_id"],
        **{name: named[name] for name in ("source", "sequence", "traceparent")},
    )  # fmt: skip
    [item] = document(await post(api, event), 202)["items"]
    assert (item["event_id"], item["tenant"]) == (named["event_id"], named["tenant"])


@pytest.fixture(scope="module")
async def guarded(settings: Settings) -> AsyncIterator[Guarded]:
    """An API that requires access."""
    async with guarded_api(settings) as guarded:
        yield guarded


class TestAccess:
    async def status(self, guarded: Guarded, token: str, *batch: dict[str, Any]) -> int:
        """What a batch gets with this token."""
        headers = {"authorization": f"Bearer {token}", "content-type": BATCH_TYPE}
        response = await guarded.api.http.post(PATH, content=orjson.dumps(batch), headers=headers)
        if response.status_code >= 400:
            document(response, response.status_code)
        return response.status_code

    async def test_only_of_its_own_tenants(self, guarded: Guarded) -> None:
        publisher = await guarded.key("acme:publisher", "globex:reader")
        assert await self.status(guarded, publisher, envelope()) == 202
        assert await self.status(guarded, publisher, envelope(), envelope(tenantid="other")) == 404
        assert await self.status(guarded, publisher, envelope(tenantid="globex")) == 403
        reader = await guarded.key("acme:reader")
        assert await self.status(guarded, reader, envelope()) == 403
        everywhere = await guarded.key("*:publisher")
        assert await self.status(guarded, everywhere, envelope(tenantid="other")) == 202

    async def test_only_of_its_own_providers(self, guarded: Guarded) -> None:
        token = await guarded.key("acme:publisher", providers=["ecs"])
        ecs = await guarded.api.execution("acme", provider="ecs")
        k8s = await guarded.api.execution("acme", provider="k8s")
        assert await self.status(guarded, token, envelope(subject=ecs)) == 202
        assert (
            await self.status(guarded, token, envelope(subject=ecs), envelope(subject=k8s)) == 403
        )
        assert await self.status(guarded, token, envelope()) == 403

    async def test_a_request_does_not_make_an_execution_its_own(self, guarded: Guarded) -> None:
        token = await guarded.key("acme:publisher", providers=["ecs"])
        mine, theirs = requested(provider="ecs"), requested(provider="k8s")
        await guarded.api.log.report("acme", theirs.execution_id("acme"), theirs)
        claim = theirs.model_copy(update={"provider": "ecs"})
        for request, status in ((mine, 202), (theirs, 403), (claim, 403)):
            id_ = request.execution_id("acme")
            asked = envelope(
                orjson.loads(request.model_dump_json(exclude_none=True)),
                type=request.type, subject=id_,
            )  # fmt: skip
            assert await self.status(guarded, token, asked, envelope(subject=id_)) == status


def test_no_member_of_any_data_is_called_like_an_attribute() -> None:
    """Or a rejection would not say which of them it means."""
    from milepost.api import cloudevents

    for data in EVENTS.values():
        assert not cloudevents._ATTRIBUTES & set(data.model_fields)
