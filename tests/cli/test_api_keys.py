"""`milepost api-keys`: the first key from the database, the others over the API."""

import json
from pathlib import Path

import pytest

from cli.conftest import milepost
from conftest import StartService
from milepost.client import ApiError, MilepostClient
from milepost.settings import Settings
from stack import environment


async def test_from_the_first_key_to_a_revoked_one(
    service: StartService, settings: Settings, tmp_path: Path
) -> None:
    required = settings.model_copy(update={"api_access": "required"})
    api = (await service("api", settings=required)).ready["api"]
    bootstrap = ("api-keys", "bootstrap")
    first = await milepost(*bootstrap, cwd=tmp_path, **environment(required))
    assert (first.status, first.err) == (0, "")
    variables = {"MILEPOST_API_URL": api, "MILEPOST_TOKEN": first.out.strip()}
    made = await milepost(
        *("api-keys", "create", "ci", "--grant", "acme:reader", "--grant", "acme:publisher"),
        *("--provider", "ecs", "--expires-in", "12h", "-o", "json"),
        cwd=tmp_path, **variables,
    )  # fmt: skip
    assert made.status == 0, made.err
    key = json.loads(made.out)
    assert key["grants"] == ["acme:publisher", "acme:reader"]
    assert key["providers"] == ["ecs"]
    assert key["expires_at"] is not None
    listed = await milepost("api-keys", "list", cwd=tmp_path, **variables)
    assert key["key_id"] in listed.out
    assert key["token"] not in listed.out
    async with MilepostClient(api, key["token"]) as client:
        assert [one async for one in client.executions("acme")] == []
    revoked = await milepost("api-keys", "revoke", key["key_id"], cwd=tmp_path, **variables)
    assert revoked.status == 0, revoked.err
    listed = await milepost("api-keys", "list", "-o", "jsonl", cwd=tmp_path, **variables)
    [one] = [json.loads(line) for line in listed.out.splitlines() if key["key_id"] in line]
    assert one["revoked_at"] is not None
    # Who has lost the first key makes another, and the lost one is good for nothing.
    again = await milepost(*bootstrap, cwd=tmp_path, **environment(required))
    variables["MILEPOST_TOKEN"] = again.out.strip()
    assert (await milepost("api-keys", "list", cwd=tmp_path, **variables)).status == 0
    async with MilepostClient(api, first.out.strip()) as client:
        with pytest.raises(ApiError, match="401"):
            await _asking_on(client, key["key_id"])
    nobody = await milepost("api-keys", "list", cwd=tmp_path, MILEPOST_API_URL=api)
    assert nobody.status == 1
    assert "401" in nobody.err
    assert "Traceback" not in nobody.err


async def _asking_on(client: MilepostClient, key_id: str) -> None:
    while True:
        await client.api_keys.revoke(key_id)
