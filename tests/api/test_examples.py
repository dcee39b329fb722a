"""The examples in the OpenAPI document are what the API answers in one small story."""

import json
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from importlib import resources
from typing import Any, Final, cast
from urllib.parse import quote

import pydantic_core
import pytest

from api.callers import Guarded, guarded_api
from api.harness import document
from milepost import api
from milepost.schemas.binding import Encoded
from milepost.schemas.example_notifications import story
from milepost.schemas.examples import BEGIN, TASK, Example, examples
from milepost.schemas.topics import Topics
from milepost.settings import Settings

EXAMPLES: Final[Mapping[str, Any]] = json.loads(
    (resources.files(api) / "examples.json").read_text()
)
UNKNOWN: Final = "ffffffff-ffff-5fff-bfff-ffffffffffff"
SECRETS: Final = (
    "whsec_bWlsZXBvc3QgZXhhbXBsZSBzZWNyZXQgMQ==",
    "whsec_bWlsZXBvc3QgZXhhbXBsZSBzZWNyZXQgMg==",
)
# A time of day, and what is random: ids, keys, tokens.
TIME: Final = re.compile(r"(\d{4}-\d\d-\d\d)T\d\d:\d\d:\d\d(\.\d+)?Z")
RANDOM: Final = re.compile(
    r"mp_[0-9a-f]{12}(_[\w-]{43})?|[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
    r"|\b([0-9a-f]{12}|[0-9a-f]{16})\b"
)


class Story:
    """Asks the API, and keeps its answers by operation."""

    def __init__(self, guarded: Guarded, token: str) -> None:
        self.guarded = guarded
        self.token = token
        self.answers: dict[str, Any] = {}

    async def ask(
        self,
        operation: str,
        path: str,
        body: Any = None,
        *,
        method: str | None = None,
        status: int = 200,
        **headers: str,
    ) -> dict[str, Any]:
        """The answer; what has a body is posted where nothing else is said."""
        self.guarded.clock.seconds += 1
        method = method or ("GET" if body is None else "POST")
        response = await self.guarded.send(self.token, method, path, body, **headers)
        self.answers[operation] = answer = document(response, status)
        return answer

    async def follow(self, operation: str, path: str, until: str) -> None:
        """The events of a stream up to the first one of this name."""
        answer = self.guarded.api.http.sse(path, headers={"Authorization": f"Bearer {self.token}"})
        events = self.answers[operation] = []
        async with answer as source:
            async for event in source:
                named = {"id": event.id} if event.id else {}
                events.append(named | {"event": event.event, "data": json.loads(event.data)})
                if event.event == until:
                    return

    async def executions(self) -> None:
        """What became of one that failed, and of another one's second attempt."""
        failed, retry = [], []
        for example in story():
            failed.append(await self._fold(example.record))
        for name in ("without_key", "retry"):
            retry.append(await self._fold(_event(f"requested.v1/{name}.binary").record))
        await self.guarded.api.log.measure(behind=0)
        one, task = f"/v1/executions/{failed[0]}", quote(TASK, safe="")
        await self.ask("read_execution", one)
        await self.ask("list_transitions", f"{one}/transitions")
        await self.ask("list_resources", f"{one}/resources")
        await self.ask("list_events", f"{one}/events?page_size=2")
        await self.ask("explain_event", f"{one}/events/0/1")
        await self.ask("list_logs", f"{one}/logs")
        await self.ask("list_links", f"/v1/executions/{retry[1]}/links")
        await self.ask("look_up_executions", "/v1/executions:lookup", {"ids": [failed[0], UNKNOWN]})
        await self.ask("list_executions", "/v1/tenants/acme/executions?page_size=1")
        await self.ask("read_tenant", "/v1/tenants/acme")
        await self.ask("list_tenant_resources", "/v1/tenants/acme/resources")
        await self.ask("list_orphans", "/v1/tenants/acme/orphans")
        await self.ask("look_up_resource", f"/v1/resources?kind=ecs.task&id={task}")
        await self.follow("stream_execution", f"{one}/stream", until="end")
        await self.follow("stream_tenant", "/v1/tenants/acme/stream", until="ready")

    async def _fold(self, record: Encoded) -> str:
        told = datetime.fromisoformat(dict(record.headers)["ce_time"].decode())
        await self.guarded.api.log.append(record, recorded_at=told)
        return record.key.decode()

    async def requests(self) -> None:
        """One is asked for, reported on, and called off."""
        new = await self.ask(
            "request_execution",
            "/v1/tenants/acme/executions",
            {"operation": "provision", "provider": "ecs", "parameters": {"cpu": 256}},
            status=202,
            **{"Idempotency-Key": "order-9"},
        )
        event = pydantic_core.from_json(_event("started.v1/structured").record.value)
        await self.ask(
            "publish_events",
            "/v1/events",
            event | {"subject": new["execution_id"]},
            status=202,
            **{"Content-Type": "application/cloudevents+json"},
        )
        path = f"/v1/executions/{new['execution_id']}:cancel"
        await self.ask("cancel_execution", path, {"reason": "wrong image"}, status=202)

    async def webhooks(self) -> None:
        """An endpoint from its making to messages that are sent again."""
        hooks = "/v1/tenants/acme/webhooks"
        asked = {"url": "https://hooks.acme.example/milepost", "states": ["failed"]}
        made = await self.ask("create_webhook", hooks, asked | {"secret": SECRETS[0]}, status=201)
        one = f"{hooks}/{made['endpoint_id']}"
        await self.ask("list_webhooks", hooks)
        await self.ask("read_webhook", one)
        await self.ask("change_webhook", one, {"description": "billing"}, method="PATCH")
        await self.ask("read_webhook_secret", f"{one}/secret")
        await self.ask("rotate_webhook_secret", f"{one}/secret:rotate", {"secret": SECRETS[1]})
        sent = await self.ask("test_webhook", f"{one}:test", method="POST", status=202)
        delivery = f"/v1/tenants/acme/deliveries/{sent['delivery_id']}"
        await self.ask("list_deliveries", "/v1/tenants/acme/deliveries")
        await self.ask("read_delivery", delivery)
        await self.ask("redeliver_delivery", f"{delivery}:redeliver", method="POST", status=202)
        since = {"since": "2026-01-15T00:00:00Z"}
        await self.ask("redeliver_webhook", f"{one}:redeliver", since, status=202)

    async def access(self) -> None:
        """A key, and what the audit has of it all."""
        asked = {"name": "nightly deploy", "grants": ["acme:publisher"], "providers": ["ecs"]}
        made = await self.ask("create_api_key", "/v1/api-keys", asked, status=201)
        await self.ask("list_api_keys", "/v1/api-keys?page_size=1")
        revoke = f"/v1/api-keys/{made['key_id']}:revoke"
        await self.ask("revoke_api_key", revoke, method="POST")
        await self.ask("list_audit", "/v1/audit?page_size=1")
        await self.ask("list_tenant_audit", "/v1/tenants/acme/audit?page_size=1")
        await self.ask("healthz", "/healthz")
        await self.ask("readyz", "/readyz")


def _event(name: str) -> Example:
    named = {
        f"{one.type.removeprefix('milepost.execution.')}/{one.name}": one for one in examples()
    }
    return named[name]


@pytest.fixture(scope="module")
async def answers(settings: Settings) -> Mapping[str, Any]:
    """What the API answers in the whole story; its clock stands a quarter of an hour after the begin."""
    async with guarded_api(settings, BEGIN + timedelta(minutes=15)) as guarded:
        told = Story(guarded, await guarded.key("*:admin", name="operations"))
        await told.executions()
        await told.requests()
        await told.webhooks()
        await told.access()
    # The topic's name is this module's own.
    text = json.dumps(told.answers).replace(settings.topics.events, Topics().events)
    return cast("Mapping[str, Any]", json.loads(text))


def agree(example: Any, answer: Any, place: str = "$") -> list[str]:
    """Where an answer is not what the example says; what is random, or by the clock of the database
    and of the broker, must be of the same form."""
    if isinstance(example, dict) and isinstance(answer, dict):
        if example.keys() != answer.keys():
            return [f"{place}: {sorted(example.keys() ^ answer.keys())}"]
        return [
            found
            for name, value in example.items()
            for found in agree(value, answer[name], f"{place}.{name}")
        ]
    if isinstance(example, list) and isinstance(answer, list) and len(example) == len(answer):
        pairs = enumerate(zip(example, answer, strict=True))
        return [found for number, pair in pairs for found in agree(*pair, f"{place}[{number}]")]
    if place.endswith((".age_seconds", ".next_page_token")):
        example, answer = type(example), type(answer)
    if isinstance(answer, str):
        if TIME.fullmatch(answer) and answer[:10] != f"{BEGIN:%Y-%m-%d}":
            example, answer = bool(TIME.fullmatch(str(example))), True
        else:
            example, answer = RANDOM.sub("*", str(example)), RANDOM.sub("*", answer)
    return [] if example == answer else [f"{place}: {example!r}, but it answers {answer!r}"]


@pytest.mark.parametrize("operation", EXAMPLES)
def test_an_example_is_what_the_api_answers(answers: Mapping[str, Any], operation: str) -> None:
    assert agree(EXAMPLES[operation], answers[operation]) == []
