"""Everything that is wrong gets a problem document with a stable type, and never a 500."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from api.harness import Api, connected, document, now
from milepost.api.protocol import MAX_HEAD_BYTES, MAX_HEADERS
from milepost.projections.statements import statement
from milepost.schemas.events import Started
from milepost.schemas.values import Resource

EXECUTIONS = "/v1/tenants/acme/executions"
ID = "976c90f2-e03b-49a2-bfbc-9f7b032f096c"
EXECUTION = f"/v1/executions/{ID}"
TENANTS = ["", "a b", "-a", "a/b", "%00", "ä", "x" * 129]
IDS = ["1", "x" * 36, ID.upper(), ID.replace("-", ""), "%00", f"{ID}%0A", "é"]

PREFIXES = ["", "2f5", "2F5D", "2f5dx", "2f5d-", "2f5d9f0e5", "2f5d9f0e-5f5c5", "%", f"{ID}0"]


@pytest.mark.parametrize("tenant", TENANTS)
async def test_a_tenant_that_is_none(api: Api, tenant: str) -> None:
    for path in (f"/v1/tenants/{tenant}", f"/v1/tenants/{tenant}/executions"):
        response = await api.http.get(path)
        document(response, 404 if tenant in ("", "a/b") else 422)
    response = await api.http.post(f"/v1/tenants/{tenant}/executions", json={"operation": "x"})
    assert response.status_code in (404, 422)


@pytest.mark.parametrize("execution_id", IDS)
async def test_an_execution_id_that_is_none(api: Api, execution_id: str) -> None:
    for part in ("", "/transitions", "/events", "/logs", "/resources", "/links"):
        problem = await api.get(f"/v1/executions/{execution_id}{part}", 422)
        assert problem["type"] == "/problems/invalid-request"
        assert problem["errors"][0]["parameter"] == "execution_id"
    await api.post(f"/v1/executions/{execution_id}:cancel", status=422)


@pytest.mark.parametrize(
    ("path", "query"),
    [
        (EXECUTION, {"wait": "61s"}),
        (EXECUTION, {"wait": "60001ms"}),
        (EXECUTION, {"wait": "-1"}),
        (EXECUTION, {"wait": "1h"}),
        (EXECUTION, {"wait": "nan"}),
        (EXECUTION, {"wait": "1e9"}),
        (EXECUTION, {"wait": ""}),
        (EXECUTION, {"wait": "٣s"}),
        (EXECUTION, {"min_version": "-1"}),
        (EXECUTION, {"min_version": str(2**63)}),
        (EXECUTION, {"min_version": "1.5"}),
        (EXECUTION, {"tenant": "a b"}),
        (EXECUTION, {"tenant": "\0"}),
        (f"{EXECUTION}/events", {"page_size": "0"}),
        (f"{EXECUTION}/events", {"tenant": "\0"}),
        (f"{EXECUTION}/logs", {"page_size": "501"}),
        (EXECUTIONS, {"page_size": "0"}),
        (EXECUTIONS, {"page_size": "501"}),
        (EXECUTIONS, {"page_size": "many"}),
        (EXECUTIONS, {"order": "up"}),
        (EXECUTIONS, {"state": "done"}),
        (EXECUTIONS, {"operation": "Provision"}),
        (EXECUTIONS, {"operation": "\0"}),
        (EXECUTIONS, {"provider": "a b"}),
        (EXECUTIONS, {"states": "failed"}),
        (EXECUTIONS, {"silent": "perhaps"}),
        (EXECUTIONS, {"conflicting": "2"}),
        (EXECUTIONS, {"label": "team"}),
        (EXECUTIONS, {"label": "=web"}),
        (EXECUTIONS, {"label": "team=\0"}),
        (EXECUTIONS, {"label": f"team={'x' * 256}"}),
        (EXECUTIONS, {"label": ["team=web", "team=ops"]}),
        (EXECUTIONS, {"label": [f"l{number}=" for number in range(65)]}),
        (EXECUTIONS, {"first_recorded_since": "yesterday"}),
        (EXECUTIONS, {"first_recorded_since": "2026-01-01T00:00:00"}),
        (EXECUTIONS, {"first_recorded_before": "1767225600"}),
        (EXECUTIONS, {"first_recorded_before": "2200-01-01T00:00:00Z"}),
        (EXECUTIONS, {"ended_since": "2026-01-01"}),
        (EXECUTIONS, {"ended_since": ""}),
        (EXECUTIONS, {"ended_before": "\0"}),
        (EXECUTIONS, {"ended_before": "9999-99-99T99:99:99Z"}),
        *((EXECUTIONS, {"id_prefix": prefix}) for prefix in PREFIXES),
        (EXECUTIONS, {"parent": "1"}),
        (EXECUTIONS, {"workflow_id": "\0"}),
        (EXECUTIONS, {"parent": ID, "workflow_id": "w"}),
        (f"{EXECUTION}/links", {"page_size": "0"}),
        ("/v1/tenants/acme/orphans", {"kind": "k8s.pod"}),
        (EXECUTIONS, {"page_token": "x" * 10_000}),
        ("/v1/tenants/acme/resources", {"released": "perhaps"}),
        ("/v1/tenants/acme/resources", {"kind": "\0"}),
        ("/v1/resources", {}),
        ("/v1/resources", {"kind": "k8s.pod"}),
        ("/v1/resources", {"kind": "k8s.pod", "id": ""}),
        ("/v1/resources", {"kind": "k8s.pod", "id": "\0"}),
        ("/v1/resources", {"kind": "k8s.pod", "id": "x" * 513}),
        ("/v1/resources", {"kind": "k8s.pod", "id": "x", "region": ""}),
    ],
)
async def test_a_query_that_is_not_valid(api: Api, path: str, query: dict[str, str]) -> None:
    problem = await api.get(path, 422, **query)
    assert problem["type"] == "/problems/invalid-request"
    named = {error["parameter"].partition(".")[0] for error in problem["errors"]}
    assert not query or named & {*query, "id"}


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "#/operation"),
        ({"operation": "Provision"}, "#/operation"),
        ({"operation": None}, "#/operation"),
        ({"operation": "x\0"}, "#/operation"),
        ({"operation": "x", "provider": 1}, "#/provider"),
        ({"operation": "x", "parameters": []}, "#/parameters"),
        ({"operation": "x", "parameters": {"a": "\0"}}, "#/parameters"),
        ({"operation": "x", "parameters": {"a": 2**53}}, "#/parameters"),
        ({"operation": "x", "labels": {"a/b~": "v"}}, "#/labels/a~1b~0/[key]"),
        ({"operation": "x", "labels": {"a": "v" * 256}}, "#/labels/a"),
        ({"operation": "x", "links": {"parent": "1"}}, "#/links/parent"),
        ({"operation": "x", "expectations": {"duration_seconds": 0}}, None),
        ({"operation": "x", "occurred_at": "2026-01-01T00:00:00Z"}, "#/occurred_at"),
        ({"operation": "x", "unknown": 1}, "#/unknown"),
        ([], "#"),
        ("text", "#"),
        (None, "#"),
        (1, "#"),
    ],
)
async def test_a_body_that_is_not_valid(api: Api, body: Any, pointer: str | None) -> None:
    problem = await api.post(EXECUTIONS, body, 422, {"content-type": "application/json"})
    assert problem["type"] == "/problems/invalid-request"
    assert problem["errors"][0]["pointer"] == (pointer or "#/expectations/duration_seconds")


def deep(depth: int) -> bytes:
    """An operation with parameters so many objects deep."""
    return b'{"operation": "x", "parameters": ' + b'{"a":' * depth + b"1" + b"}" * depth + b"}"


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"{", 400),
        (b"{}x", 400),
        (b"\xff", 400),
        (b'{"operation": "x", "parameters": {"a": NaN}}', 400),
        (b'{"operation": "x", "parameters": {"a": Infinity}}', 400),
        (b'{"operation": "\\ud800"}', 400),
        (b'{"operation": "x", "parameters": {"a": "\\ud800"}}', 400),
        (b'{"operation": "x", "parameters": {"a": 1e999}}', 422),
        (b'{"operation": "x", "parameters": {"a": ' + b"9" * 5_000 + b"}}", 400),
        (deep(40), 422),
        (deep(100_000), 400),
        (b"[" * 100_000, 400),
    ],
)
async def test_a_body_that_is_no_json_for_us(api: Api, content: bytes, status: int) -> None:
    response = await api.http.post(
        EXECUTIONS, content=content, headers={"content-type": "application/json"}
    )
    problem = document(response, status)
    kinds = {400: "/problems/malformed-body", 422: "/problems/invalid-request"}
    assert problem["type"] == kinds[status]


async def test_a_body_of_another_media_type(api: Api) -> None:
    for headers in ({"content-type": "text/plain"}, {"content-type": "nonsense"}, {}):
        response = await api.http.post(EXECUTIONS, content=b"{}", headers=headers)
        assert document(response, 415)["type"] == "/problems/unsupported-media-type"


async def test_a_body_is_limited(api: Api) -> None:
    content = b'{"operation": "x", "parameters": {"a": "%s"}}' % (b"x" * 1_048_576)
    headers = {"content-type": "application/json"}

    async def chunks() -> Any:
        for start in range(0, len(content), 65_536):
            yield content[start : start + 65_536]

    for body in (content, chunks()):
        response = await api.http.post(EXECUTIONS, content=body, headers=headers)
        assert document(response, 413)["type"] == "/problems/body-too-large"


async def test_a_request_that_fills_more_than_a_record_is_not_noted(api: Api) -> None:
    body = {"operation": "x", "parameters": {"a": "x" * 1_046_000}}
    problem = await api.post(EXECUTIONS, body, 413)
    assert problem["type"] == "/problems/body-too-large"
    async with connected(api.settings.dsn) as connection:
        assert not await connection.fetch("SELECT FROM requests WHERE length(value) > 1000000")


async def test_a_path_and_a_method_that_do_not_exist(api: Api) -> None:
    for path in ("/", "/v1", "/v2/tenants/acme", f"{EXECUTION}/", "/v1/executions", "/docs"):
        assert (await api.get(path, 404))["type"] == "/problems/no-such-route"
    response = await api.http.delete(EXECUTION)
    assert document(response, 405)["type"] == "/problems/method-not-allowed"
    assert response.headers["allow"] == "GET"


async def test_what_a_colon_asks_for_is_no_part_of_an_id(api: Api) -> None:
    for path, method, allowed in (
        (f"{EXECUTION}:cancel", "GET", "POST"),
        ("/v1/executions:lookup", "GET", "POST"),
        (EXECUTIONS, "DELETE", "GET, POST"),
    ):
        response = await api.http.request(method, path)
        assert document(response, 405)["type"] == "/problems/method-not-allowed"
        assert response.headers["allow"] == allowed
    assert (await api.get(f"{EXECUTION}:explode", 404))["type"] == "/problems/no-such-route"


async def test_what_is_no_http(api: Api) -> None:
    for sent in (b"hello\r\n\r\n", b"GET /%b HTTP/1.1\r\nhost: x\r\n\r\n" % (b"x" * 70_000)):
        reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(api.url).port)
        writer.write(sent)
        head, _, body = (await asyncio.wait_for(reader.read(), 5)).partition(b"\r\n\r\n")
        writer.close()
        assert head.startswith(b"HTTP/1.1 400 ")
        assert b"content-type: application/problem+json" in head
        assert json.loads(body)["type"] == "/problems/malformed-request"


async def test_headers_without_an_end(api: Api) -> None:
    """Nobody has shown a token yet: what is kept of them is bounded."""
    many = b"".join(b"x-%d: 1\r\n" % number for number in range(MAX_HEADERS + 1))
    for sent in (
        b"x-long: " + b"x" * MAX_HEAD_BYTES,
        b"x-some: x\r\n" * (MAX_HEADERS - 1) + b"x-long: " + b"x" * MAX_HEAD_BYTES,
        many,
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(api.url).port)
        writer.write(b"POST /v1/executions:lookup HTTP/1.1\r\nhost: x\r\n" + sent)
        answers = await asyncio.wait_for(reader.read(), 5)
        writer.close()
        assert b"HTTP/1.1 431 " in answers
        assert b'"type":"/problems/head-too-large"' in answers


async def test_trailers_without_an_end_are_cut_off(api: Api) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", urlsplit(api.url).port)
    writer.write(b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx-t: ")
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(20):
            while True:
                writer.write(b"x" * MAX_HEAD_BYTES)
                await writer.drain()
    writer.close()


async def test_bodies_in_pieces_and_many_requests_at_once_are_no_long_heads(api: Api) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b'{"ids": ["'
        for _ in range(MAX_HEAD_BYTES // 512):
            yield b" " * 1_024
        yield b'"]}'

    response = await api.http.post(
        "/v1/executions:lookup", content=pieces(), headers={"content-type": "application/json"}
    )
    assert document(response, 422)["type"] == "/problems/invalid-request"
    reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(api.url).port)
    request = b"GET /healthz HTTP/1.1\r\nhost: x\r\n%b\r\n"
    count = MAX_HEAD_BYTES // len(request) + 1
    writer.write(request % b"" * (count - 1) + request % b"connection: close\r\n")
    answers = await asyncio.wait_for(reader.read(), 20)
    writer.close()
    assert answers.count(b"HTTP/1.1 200 ") == count


async def test_a_header_that_is_not_valid(api: Api) -> None:
    for tag in ('"', ",,,", "W/", "é"):
        headers = {b"If-None-Match": tag.encode()}
        response = await api.http.get(EXECUTION, headers=headers)
        assert document(response, 404)


async def test_the_document_describes_every_answer(api: Api) -> None:
    described = await api.get("/openapi.json")
    assert described["openapi"].startswith("3.1")
    schemas = described["components"]["schemas"]
    assert {"ProblemDocument", "ExecutionAnswer", "ExecutionRequest"} <= set(schemas)
    assert "HTTPValidationError" not in schemas
    for path, methods in described["paths"].items():
        if not path.startswith("/v1"):
            continue
        for operation in methods.values():
            errors = {status for status in operation["responses"] if status >= "400"}
            assert {"422", "503"} <= errors
            for status in errors:
                assert set(operation["responses"][status]["content"]) == {
                    "application/problem+json"
                }


class TestRowLevelSecurity:
    """The second wall: without any filter of ours, the role sees one tenant's rows."""

    TABLES = (
        *("executions", "execution_links", "event_log", "resources", "tenant_activity"),
        "requests",
    )

    async def test_another_tenant_sees_nothing(self, api: Api) -> None:
        pod = Resource("k8s.pod", "web-1")
        id_ = await api.execution(
            "walled", Started(occurred_at=now(), resources=(pod,)), links={"workflow_id": "w"}
        )
        await api.post("/v1/tenants/walled/executions", {"operation": "provision"})
        for tenant, visible in (("walled", True), ("stranger", False), ("", False)):
            async with api.parts.database.acting_for(tenant) as connection:
                for table in self.TABLES:
                    seen = await connection.fetchval(f"SELECT count(*) FROM {table}")  # noqa: S608
                    assert (seen > 0) is visible, table
                row = await connection.fetchrow(
                    statement("execution"), id_, None, api.settings.topics.events, "{}", None
                )
                assert (row is not None) is visible

    async def test_the_role_owns_nothing_and_writes_only_the_ledger(self, api: Api) -> None:
        async with api.parts.database.acting_for("*") as connection:
            assert await connection.fetchval("SELECT current_user") == "milepost_api"
        for forbidden in (
            "UPDATE executions SET state = 'failed'",
            "DELETE FROM requests",
            "UPDATE requests SET value = ''",
            "DROP TABLE requests",
            "ALTER TABLE executions DISABLE ROW LEVEL SECURITY",
        ):
            connection = await api.parts.database.connect()
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(forbidden)
            await connection.close()

    async def test_a_connection_without_a_tenant_sees_nothing(self, api: Api) -> None:
        await api.execution("walled")
        connection = await api.parts.database.connect()
        for table in self.TABLES:
            assert await connection.fetchval(f"SELECT count(*) FROM {table}") == 0  # noqa: S608
        await connection.close()
