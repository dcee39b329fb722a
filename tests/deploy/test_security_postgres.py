"""Each service works as a login that has its role alone, and may do nothing else."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr

from conftest import StartService
from milepost.client import MilepostClient, Publisher
from milepost.settings import Settings

SERVICES = ("processor", "api", "webhooks", "readonly")


@pytest.fixture(scope="module")
async def logins(database: str) -> AsyncIterator[dict[str, str]]:
    """A login for each role, of this module's own: the database's URL as it."""
    place = urlsplit(database)
    owner = await asyncpg.connect(database)
    made = {}
    try:
        for role in SERVICES:
            login = f"login_{role}_{uuid4().hex[:8]}"
            walls = "BYPASSRLS" if role == "processor" else ""
            await owner.execute(
                f"CREATE ROLE {login} LOGIN {walls} PASSWORD 'secret' IN ROLE milepost_{role}"
            )
            where = f"{login}:secret@{place.hostname}:{place.port}"
            made[role] = place._replace(netloc=where).geturl()
        yield made
        for url in made.values():
            await owner.execute(f"DROP ROLE {urlsplit(url).username}")
    finally:
        await owner.close()


@asynccontextmanager
async def connected(url: str, role: str) -> AsyncIterator[asyncpg.Connection]:
    """As the service connects."""
    sets = {"role": "milepost_api"} if role == "api" else {}
    connection = await asyncpg.connect(url, server_settings=sets)
    try:
        yield connection
    finally:
        await connection.close()


async def test_each_service_works_as_a_login_with_its_role_alone(
    settings: Settings, logins: dict[str, str], service: StartService
) -> None:
    keys = SecretStr(Fernet.generate_key().decode())

    def as_login(role: str) -> Settings:
        changes = {"database_url": SecretStr(logins[role]), "webhook_keys": keys}
        return Settings(**{**dict(settings), **changes})

    processor = await service("processor", settings=as_login("processor"))
    api = await service("api", settings=as_login("api"))
    webhooks = await service("webhooks", settings=as_login("webhooks"))
    async with Publisher(settings) as publisher, MilepostClient(api.ready["api"]) as client:
        await client.webhooks.create("acme", "https://nobody.invalid/")
        run = await publisher.request("acme", "provision", provider="ecs", key="k")
        await run.succeeded()
        assert (await client.wait(run.execution_id, timeout=20)).state == "succeeded"
    async with connected(logins["readonly"], "readonly") as reading:
        assert await reading.fetchval("SELECT state FROM executions") == "succeeded"
        while not await reading.fetchval("SELECT count(*) FROM webhook_attempts"):
            pass
    for one in (processor, api, webhooks):
        assert await one.stop() == 0, one.tail()
        assert "ermission denied" not in one.tail()


@pytest.mark.parametrize(
    ("role", "command"),
    [
        ("api", "DELETE FROM event_log"),
        ("api", "UPDATE executions SET state = 'failed'"),
        ("api", "UPDATE webhook_endpoints SET tenant = 'mine'"),
        ("api", "UPDATE webhook_secrets SET sealed = ''"),
        ("api", "DELETE FROM audit"),
        ("api", "ALTER TABLE executions DISABLE ROW LEVEL SECURITY"),
        ("processor", "DELETE FROM event_log"),
        ("processor", "UPDATE event_log SET value = ''"),
        ("processor", "DELETE FROM executions"),
        ("processor", "SELECT sealed FROM webhook_secrets"),
        ("processor", "SELECT secret_sha256 FROM api_keys"),
        ("webhooks", "SELECT value FROM event_log"),
        ("webhooks", "SELECT secret_sha256 FROM api_keys"),
        ("webhooks", "DELETE FROM webhook_attempts"),
        ("webhooks", "UPDATE webhook_messages SET payload = ''"),
        ("readonly", "UPDATE positions SET next_offset = 0"),
        ("readonly", "SELECT sealed FROM webhook_secrets"),
        ("readonly", "SELECT secret_sha256 FROM api_keys"),
        ("readonly", "CREATE TABLE mine ()"),
    ],
)
async def test_nobody_does_more(logins: dict[str, str], role: str, command: str) -> None:
    async with connected(logins[role], role) as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(command)


async def test_the_api_sees_no_other_tenant(database: str, logins: dict[str, str]) -> None:
    owner = await asyncpg.connect(database)
    try:
        await owner.execute(
            "INSERT INTO requests (tenant, execution_id, fingerprint, event_id, headers, value)"
            " VALUES ('one', $1, '', '', '', ''), ('two', $1, '', '', '', '')",
            uuid4(),
        )
    finally:
        await owner.close()
    async with connected(logins["api"], "api") as api:
        seen = "SELECT array_agg(tenant) FROM requests"
        assert await api.fetchval(seen) is None
        await api.execute("SELECT set_config('milepost.tenant', 'one', false)")
        assert await api.fetchval(seen) == ["one"]
