"""`milepost listen`: completions as signed webhooks to an endpoint that is here."""

import asyncio
import os
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from standardwebhooks import Webhook
from starlette.requests import Request
from starlette.responses import PlainTextResponse

from api.events import started, succeeded, tenant
from api.harness import Api, now, running_api
from cli.conftest import environment
from milepost.cli.failures import Unable
from milepost.cli.listen import listen
from milepost.client import Completion, WebhookVerifier
from milepost.schemas.events import Failed, Progressed
from milepost.schemas.values import Failure, Progress
from milepost.settings import Settings
from stub_api import StubApi, stub_api

PATH = "/hooks"


@pytest.fixture(scope="module")
async def api(settings: Settings) -> AsyncIterator[Api]:
    async with running_api(settings) as api:
        yield api


class Listening:
    """A running `milepost listen`."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.secret = ""

    async def line(self) -> str:
        """The next line that it prints."""
        assert self.process.stdout is not None
        async with asyncio.timeout(15):
            return (await self.process.stdout.readline()).decode().rstrip("\n")

    async def end(self) -> int:
        """Ctrl-C; return the exit status."""
        self.process.send_signal(signal.SIGINT)
        async with asyncio.timeout(15):
            await self.process.communicate()
        assert self.process.returncode is not None
        return self.process.returncode


@asynccontextmanager
async def listening(api: Api, folder: Path, *arguments: str) -> AsyncIterator[Listening]:
    """`milepost listen` in `folder`, following from now on."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "milepost.cli", "listen", *arguments),
        cwd=folder,
        env=environment(MILEPOST_API_URL=api.url),
        stdout=PIPE,
        stderr=PIPE,
    )
    one = Listening(process)
    try:
        said = await one.line()
        assert said.startswith("signing secret: whsec_")
        one.secret = said.removeprefix("signing secret: ")
        assert (await one.line()).endswith("from now on")
        yield one
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def received(endpoint: StubApi, secret: str) -> tuple[Request, Completion]:
    """The last request that came, verified by the library of Standard Webhooks and by our own."""
    request = endpoint.seen[-1]
    body = await request.body()
    Webhook(secret).verify(body.decode(), dict(request.headers))
    completion = WebhookVerifier(secret).verify(request.headers, body)
    assert isinstance(completion, Completion)
    return request, completion


async def test_each_completion_is_posted_signed_with_a_line_about_the_answer(
    api: Api, tmp_path: Path
) -> None:
    owner = tenant()
    await api.execution(owner, started(), succeeded())  # before it listened
    running = await api.execution(owner, started())
    async with stub_api() as endpoint:
        endpoint.answers["POST", PATH] = [
            PlainTextResponse("thanks"), PlainTextResponse("no", 500)
        ]  # fmt: skip
        where = ("--tenant", owner, "--forward-to", endpoint.url + PATH)
        async with listening(api, tmp_path, *where) as one:
            await api.log.report(owner, running, succeeded())
            assert (await one.line()).endswith(f"succeeded {running}: 200 OK")
            request, completion = await received(endpoint, one.secret)
            events = (await api.get(f"/v1/executions/{running}/events"))["items"]
            path = f"/v1/executions/{running}/events/{events[-1]['partition']}"
            [sent] = (await api.get(f"{path}/{events[-1]['offset']}"))["emitted"]
            assert request.headers["webhook-id"] == completion.id == sent["id"]
            assert completion == Completion.model_validate_json(sent["value"])
            # What changes it later is no completion; the next one is.
            late = Progressed(occurred_at=now(), progress=Progress(message="late"))
            await api.log.report(owner, running, late)
            failure = Failure(code="oom", message="killed")
            failed = await api.execution(owner, Failed(occurred_at=now(), failure=failure))
            assert (await one.line()).endswith(f"failed {failed}: 500 Internal Server Error")
            assert len(endpoint.seen) == 2
            assert await one.end() == 0


async def test_the_secret_is_kept_and_an_endpoint_that_is_down_is_waited_out(
    api: Api, tmp_path: Path
) -> None:
    owner = tenant()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    where = ("--tenant", owner, "--forward-to", f"http://127.0.0.1:{port}{PATH}")
    async with listening(api, tmp_path, *where, "--state", "succeeded") as one:
        lost = await api.execution(owner, succeeded())
        assert f"succeeded {lost}: not delivered, " in await one.line()
        async with stub_api(port) as endpoint:
            endpoint.answers["POST", PATH] = [PlainTextResponse("thanks")]
            failure = Failure(code="oom", message="killed")
            await api.execution(owner, Failed(occurred_at=now(), failure=failure))
            found = await api.execution(owner, succeeded())
            assert (await one.line()).endswith(f"succeeded {found}: 200 OK")
            assert (await received(endpoint, one.secret))[1].execution_id == found
    kept = tmp_path / ".milepost" / "listen-secret"
    assert kept.read_text().strip() == one.secret
    assert os.stat(kept).st_mode & 0o077 == 0
    async with listening(api, tmp_path, *where) as again:
        assert again.secret == one.secret


@pytest.mark.parametrize(
    ("url", "secret", "said"),
    [
        ("ftp://there", None, "ftp://there is no http or https URL"),
        ("http://[", None, "http://\\[ is no http or https URL"),
        ("http://x:port", None, "http://x:port is no http or https URL"),
        ("http://x", "hush", "--secret: a signing secret is whsec_"),
    ],
)
def test_what_it_cannot_do_is_said(url: str, secret: str | None, said: str) -> None:
    with pytest.raises(Unable, match=said) as raised:
        listen(forward_to=url, tenant="acme", secret=secret)
    assert "hush" not in str(raised.value)
    assert raised.value.status == 2
