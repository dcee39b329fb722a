"""What the audit keeps, who may read it, and that nobody fills it; and how often one may ask."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any
from uuid import uuid4

import pytest

from api.callers import Guarded, guarded_api
from api.harness import connected, document
from milepost.api.rates import Rates
from milepost.settings import Settings

EXECUTIONS = "/v1/tenants/acme/executions"


@pytest.fixture(scope="module")
async def guarded(settings: Settings) -> AsyncIterator[Guarded]:
    async with guarded_api(settings) as guarded:
        yield guarded


@pytest.fixture(autouse=True)
def _later(guarded: Guarded) -> None:
    """Each test finds every bucket full."""
    guarded.clock.seconds += 1_000


@pytest.fixture(scope="module")
async def everybody(guarded: Guarded) -> str:
    return await guarded.key("*:admin")


async def audit(guarded: Guarded, token: str, path: str = "/v1/audit") -> list[dict[str, Any]]:
    """Everything in the audit, the newest first, page by page."""
    rows: list[dict[str, Any]] = []
    following: str | None = ""
    while following is not None:
        page = document(await guarded.get(token, f"{path}?page_size=7{following}"), 200)
        rows += page["items"]
        token_ = page["next_page_token"]
        following = None if token_ is None else f"&page_token={token_}"
    return rows


async def test_a_write_is_there_before_its_answer(guarded: Guarded, everybody: str) -> None:
    token = await guarded.key("acme:operator", name="night shift")
    headers = {"X-Request-Id": f"order-{uuid4().hex}", "Idempotency-Key": str(uuid4())}
    body = {"operation": "provision"}
    response = await guarded.send(token, "POST", EXECUTIONS, body, **headers)
    made = document(response, 202)
    assert response.headers["x-request-id"] == headers["X-Request-Id"]
    [first] = [
        row
        for row in await audit(guarded, everybody)
        if row["request_id"] == headers["X-Request-Id"]
    ]
    assert first["principal"] == f"key {token.split('_')[1]} (night shift)"
    assert (first["tenant"], first["action"]) == ("acme", "request_execution")
    assert (first["target"], first["status"]) == (f"POST {EXECUTIONS}", 202)
    assert first["address"] == "127.0.0.1"
    assert datetime.fromisoformat(first["at"]) == guarded.clock.now()
    # Its tenant is not in the path: it is known from what was written.
    guarded.clock.seconds += 1
    cancel = f"/v1/executions/{made['execution_id']}:cancel"
    document(await guarded.send(token, "POST", cancel), 202)
    own = await audit(guarded, everybody, "/v1/tenants/acme/audit")
    assert (own[0]["action"], own[0]["target"]) == ("cancel_execution", f"POST {cancel}")


async def test_reads_and_what_changed_nothing_are_not_noted(
    guarded: Guarded, everybody: str
) -> None:
    before = await audit(guarded, everybody)
    await guarded.get(everybody, EXECUTIONS)
    await guarded.get(everybody, f"/v1/executions/{uuid4()}")
    document(await guarded.send(everybody, "POST", EXECUTIONS, {"operation": "NO"}), 422)
    assert (await guarded.send(everybody, "PUT", EXECUTIONS)).status_code == 405
    assert (await guarded.send(everybody, "GET", "/v1/events")).status_code == 405
    ids = {"ids": [str(uuid4())]}
    document(await guarded.send(everybody, "POST", "/v1/executions:lookup", ids), 200)
    assert await audit(guarded, everybody) == before


async def test_refusals_are_told_to_whom_they_concern(guarded: Guarded, everybody: str) -> None:
    acme, globex = await guarded.key("acme:reader"), await guarded.key("globex:admin")
    who = f"key {acme.split('_')[1]} (a test)"
    assert await guarded.status(acme, "/v1/tenants/globex/executions") == 404
    assert await guarded.status(acme, f"/v1/executions/{uuid4()}?tenant=globex") == 404
    document(await guarded.send(acme, "POST", EXECUTIONS, {"operation": "x"}), 403)
    assert await guarded.status(None, EXECUTIONS) == 401
    rows = await audit(guarded, everybody)
    refused = [(row["tenant"], row["principal"], row["status"]) for row in rows[:4]]
    assert sorted(refused, key=str) == sorted(
        [(None, who, 404), (None, who, 404), ("acme", who, 403), (None, "not known", 401)], key=str
    )
    # A tenant hears nothing of strangers who asked for it: that would tell of them.
    theirs = await audit(guarded, globex, "/v1/tenants/globex/audit")
    assert who not in [row["principal"] for row in theirs]
    assert await guarded.status(globex, "/v1/tenants/acme/audit") == 404
    assert await guarded.status(globex) == 404


async def test_refusals_do_not_fill_the_disk(guarded: Guarded, everybody: str) -> None:
    before = len(await audit(guarded, everybody))
    for _ in range(60):
        assert await guarded.status("mp_nonsense") == 401
    for number in range(10):
        token = await guarded.key(f"t{number}:reader")
        for _ in range(10):
            assert await guarded.status(token) == 404
    rows = await audit(guarded, everybody)
    # 10 of the stranger, and all of the others' until 100 are there.
    assert len(rows) - before == 100
    guarded.clock.seconds += 60
    assert await guarded.status("mp_nonsense") == 401
    # Those that are not there are counted.
    rows = await audit(guarded, everybody)
    assert sum(row["left_out"] for row in rows[:101]) == 60 + 100 - 100


async def test_the_audit_is_only_added_to(guarded: Guarded) -> None:
    connection = await guarded.api.parts.database.connect()
    try:
        for statement in ("UPDATE audit SET status = 200", "DELETE FROM audit", "TRUNCATE audit"):
            with pytest.raises(Exception, match="permission denied"):
                await connection.execute(statement)
    finally:
        await connection.close()


async def test_who_asks_too_often_is_told_when_to_come_again(settings: Settings) -> None:
    async with guarded_api(settings, api_requests_per_second=2) as slow:
        token, other = await slow.key("acme:reader"), await slow.key("acme:reader")
        answers = [await slow.get(token, "/v1/tenants/acme") for _ in range(5)]
        assert [one.status_code for one in answers] == [200] * 4 + [429]
        problem = document(answers[-1], 429)
        assert problem["type"] == "/problems/too-many-requests"
        assert answers[-1].headers["retry-after"] == "1"
        # Nobody pays for another; what has no valid token pays by its address.
        assert [await slow.status(other) for _ in range(2)] == [200, 200]
        assert [await slow.status(None) for _ in range(3)] == [401, 401, 429]
        assert await slow.status("mp_guess") == 429
        slow.clock.seconds += 3
        assert await slow.status(token) == 200


def test_a_bucket_fills_again_and_memory_is_bounded() -> None:
    seconds = 0.0
    rates = Rates(rate=2, burst=3, clock=lambda: seconds)
    assert [rates.take("a") for _ in range(4)] == [0, 0, 0, 0.5]
    assert rates.take("b") == 0
    seconds = 0.5
    assert [rates.take("a") for _ in range(2)] == [0, 0.5]
    for number in range(25_000):
        rates.take(str(number))
    assert len(rates._buckets) <= 10_000


async def test_a_database_without_the_audit_does_not_stop_the_answer(guarded: Guarded) -> None:
    token = await guarded.key("acme:publisher")
    assert (await guarded.send(token, "POST", EXECUTIONS, {"operation": "x"})).status_code == 202
    async with connected(guarded.api.settings.dsn) as owner:
        await owner.execute("ALTER TABLE audit RENAME TO audit_away")
        try:
            body = {"operation": "provision"}
            response = await guarded.send(token, "POST", EXECUTIONS, body)
        finally:
            await owner.execute("ALTER TABLE audit_away RENAME TO audit")
    assert response.status_code in (200, 202)
