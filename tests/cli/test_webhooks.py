"""Webhooks from the command line, and through the SDK without an event loop."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr

from api.harness import Api, connected, now, running_api
from api.sent import URL, sent
from cli.conftest import Ended, milepost
from cli.session import Session, session
from milepost.client import ApiError
from milepost.client.sync import MilepostClient
from milepost.settings import Settings


@pytest.fixture(scope="module")
async def api(settings: Settings) -> AsyncIterator[Api]:
    key = SecretStr(Fernet.generate_key().decode())
    async with running_api(Settings(**{**dict(settings), "webhook_keys": key})) as api:
        yield api


@pytest.fixture
async def owner(api: Api) -> AsyncIterator[asyncpg.Connection]:
    async with connected(api.settings.dsn) as connection:
        yield connection


@pytest.fixture
def tenant() -> str:
    return f"t{uuid4().hex[:8]}"


@pytest.fixture(scope="module")
async def commands(api: Api, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Session]:
    async with session(tmp_path_factory.mktemp("cli"), MILEPOST_API_URL=api.url) as running:
        yield running


class Cli:
    """`milepost webhooks ... --tenant` for one tenant."""

    def __init__(self, commands: Session, tenant: str) -> None:
        self._commands = commands
        self._tenant = tenant

    async def run(self, *arguments: str) -> Ended:
        return await self._commands.run("webhooks", *arguments, "--tenant", self._tenant)

    async def shown(self, *arguments: str) -> dict[str, str]:
        """What it prints for people, by name."""
        ended = await self.run(*arguments)
        assert ended.status == 0, ended.err
        facts = [line.partition(":")[::2] for line in ended.out.splitlines()]
        return {name: value.strip() for name, value in facts}

    async def json(self, *arguments: str) -> Any:
        ended = await self.run(*arguments, "-o", "json")
        assert ended.status == 0, ended.err
        return json.loads(ended.out)


@pytest.fixture
def cli(commands: Session, tenant: str) -> Cli:
    return Cli(commands, tenant)


async def test_an_endpoint_from_its_making_to_its_end(cli: Cli) -> None:
    made = await cli.json(
        *("create", URL, "--state", "failed", "--state", "cancelled"),
        *("--operation", "provision", "--description", "\x1b[31mbilling"),
    )
    assert made["secret"].startswith("whsec_")
    endpoint_id = made["endpoint_id"]
    listed = await cli.run("list")
    heading, row = listed.out.splitlines()
    assert heading.split() == ["ENDPOINT", "URL", "TOLD", "OF", "STATUS", "DESCRIPTION"]
    told_of = "cancelled, failed of provision"
    assert row.split() == [endpoint_id, URL, *told_of.split(), "enabled", r"\x1b[31mbilling"]
    assert (await cli.shown("show", endpoint_id))["told of"] == told_of
    update = ("update", endpoint_id, "--url", f"{URL}/new", "--all-operations")
    changed = await cli.shown(*update, "--description", "")
    assert (changed["url"], changed["told of"]) == (
        f"{URL}/new", "cancelled, failed of all operations"
    )  # fmt: skip
    assert "description" not in changed
    assert (await cli.shown("disable", endpoint_id))["status"].endswith("(asked)")
    assert (await cli.json("enable", endpoint_id))["enabled"] is True
    assert (await cli.run("secret", endpoint_id)).out == f"{made['secret']}\n"
    rotated = await cli.json("rotate", endpoint_id, "--overlap", "2h")
    assert rotated["replaced_valid_until"] is not None
    assert (await cli.run("secret", endpoint_id)).out == f"{rotated['secret']}\n"
    deleted = await cli.run("delete", endpoint_id)
    assert (deleted.status, deleted.out, deleted.err) == (0, "", "")
    assert await cli.json("list") == []


async def test_the_secret_is_shown_to_people_once(cli: Cli) -> None:
    made = await cli.shown("create", URL)
    assert made["secret"].startswith("whsec_")
    assert "secret" not in await cli.shown("show", made["endpoint"])
    assert "secret" not in await cli.json("show", made["endpoint"])


async def test_what_was_sent_and_again(cli: Cli, tenant: str, owner: asyncpg.Connection) -> None:
    endpoint_id = (await cli.json("create", URL))["endpoint_id"]
    hour = timedelta(hours=1)
    old = await sent(owner, tenant, endpoint_id, "failed", created_at=now() - 3 * hour)
    new = await sent(owner, tenant, endpoint_id, "failed", codes=[503, None])
    tested = await cli.shown("test", endpoint_id)
    assert tested["message"].endswith(" milepost.webhook.test.v1")
    listed = await cli.run("deliveries", "--endpoint", endpoint_id)
    heading, *rows = listed.out.splitlines()
    assert heading.startswith("DELIVERY")
    assert [row.split()[0] for row in rows] == [old, new, tested["delivery"]]
    assert rows[1].endswith("failed   2         connection refused")
    recent = await cli.json("deliveries", "--status", "failed", "--since", "2h", "--limit", "5")
    assert [one["delivery_id"] for one in recent] == [new]
    assert await cli.json("deliveries", "--before", "2020-01-01") == []
    shown = await cli.run("delivery", new)
    attempts = [line for line in shown.out.splitlines() if line.startswith("attempt:")]
    assert [line.partition("0.2 s ")[2] for line in attempts] == [
        "503: sorry",
        "connection refused",
    ]
    assert '"type": "milepost.completion.failed.v1"' in shown.out
    again = await cli.run("redeliver", "--endpoint", endpoint_id, "--since", "2h")
    assert again.out == "1 due again\n"
    assert (await cli.shown("redeliver", old))["status"] == "pending"
    since = ("redeliver", "--endpoint", endpoint_id, "--since", "1d", "--status", "failed")
    assert await cli.json(*since) == {"redelivered": 0, "more": False}


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("show", str(uuid4())), 1, "No webhook endpoint"),
        (("delivery", str(uuid4())), 1, "No webhook delivery"),
        (("show", "nonsense"), 1, "endpoint_id"),
        (("create", "http://example.com"), 1, "must begin with https://"),
        (("rotate", str(uuid4()), "--overlap", "30d"), 1, "overlap_seconds"),
        (("redeliver",), 2, "--endpoint and --since"),
        (("redeliver", str(uuid4()), "--since", "2h"), 2, "not both"),
        (("redeliver", "--endpoint", str(uuid4())), 2, "--endpoint and --since"),
        (("update", str(uuid4()), "--operation", "x", "--all-operations"), 2, "not both"),
    ],
)
async def test_mistakes_are_one_sentence(
    cli: Cli, arguments: tuple[str, ...], status: int, said: str
) -> None:
    ended = await cli.run(*arguments)
    assert (ended.status, ended.out) == (status, "")
    assert said in ended.err
    assert len(ended.err.splitlines()) == 1


async def test_without_a_key_the_remedy_is_said(settings: Settings, tmp_path: Path) -> None:
    async with running_api(settings) as keyless:
        command = ("webhooks", "create", URL, "--tenant", "acme")
        ended = await milepost(*command, cwd=tmp_path, MILEPOST_API_URL=keyless.url)
    assert ended.status == 69
    assert "set MILEPOST_WEBHOOK_KEYS" in ended.err


async def test_without_an_event_loop(api: Api, tenant: str) -> None:
    await asyncio.to_thread(_through_the_twin, api.url, tenant)


def _through_the_twin(url: str, tenant: str) -> None:
    with MilepostClient(url) as milepost:
        webhooks = milepost.webhooks
        made = webhooks.create(tenant, URL, states={"failed"})
        assert made.secret is not None
        assert made.secret.get_secret_value() not in repr(made)
        secret = webhooks.secret(tenant, made.endpoint_id)
        assert secret.secret == made.secret
        assert webhooks.rotate_secret(tenant, made.endpoint_id).secret != made.secret
        changed = webhooks.change(tenant, made.endpoint_id, operations=["update"])
        assert (changed.operations, changed.states) == (("update",), ("failed",))
        assert webhooks.endpoints(tenant) == [webhooks.endpoint(tenant, made.endpoint_id)]
        tested = webhooks.test(tenant, made.endpoint_id)
        again = webhooks.redeliver(tenant, tested.delivery_id)
        assert again.payload == tested.payload
        [listed] = webhooks.deliveries(tenant, endpoint_id=made.endpoint_id)
        assert listed.delivery_id == webhooks.delivery(tenant, tested.delivery_id).delivery_id
        since = webhooks.redeliver_since(tenant, made.endpoint_id, made.created_at)
        assert (since.redelivered, since.more) == (0, False)
        webhooks.delete(tenant, made.endpoint_id)
        with pytest.raises(ApiError) as unknown:
            webhooks.endpoint(tenant, made.endpoint_id)
        assert unknown.value.type == "/problems/unknown-webhook"
