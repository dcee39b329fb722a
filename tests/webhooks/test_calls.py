"""Calls of endpoints that behave well and badly: what is said of them, and that they end in time."""

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from ipaddress import ip_network
from typing import Any

import pytest

from milepost.webhooks.calls import Caller, Limits
from signals import DEADLINE
from webhooks.certificates import Authority
from webhooks.misbehaving import (
    answering,
    hanging,
    polite,
    read_request,
    repeating,
    resetting,
    serving,
)

LOOPBACK = (ip_network("127.0.0.0/8"),)
# For endpoints that are to come too late, and for those that answer and then never end.
IMPATIENT = Limits(connect_seconds=1, total_seconds=0.3)
BRIEF = Limits(connect_seconds=1, total_seconds=1)
# What a call may take longer than its limits where others use the machine.
GRACE = 2


class Names:
    """A resolver: each name's answers, one after the other, and who was asked for."""

    def __init__(self, **answers: Sequence[Sequence[str]]) -> None:
        self._answers = {name: iter(given) for name, given in answers.items()}
        self.asked: list[str] = []

    async def __call__(self, host: str) -> Sequence[str]:
        self.asked.append(host)
        return next(self._answers[host])


@pytest.fixture(scope="module")
async def caller() -> AsyncIterator[Caller]:
    async with Caller(LOOPBACK) as caller:
        yield caller


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


async def test_a_call_arrives_as_it_was_given(caller: Caller) -> None:
    async with serving(polite) as server:
        url = f"http://127.0.0.1:{server.port}/hook/\u00fc?a=b#c"
        answer = await caller.call(url, {"webhook-id": "1", "content-type": "x/y"}, b"\x00body")
    assert (answer.status_code, answer.error, answer.text) == (200, None, "ok")
    assert 0 < answer.duration_seconds < Limits.total_seconds
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    line, *headers = head.lower().split(b"\r\n")
    assert line == b"post /hook/%c3%bc?a=b http/1.1"
    assert sorted(headers) == [
        b"accept-encoding: identity",
        b"content-length: 5",
        b"content-type: x/y",
        b"host: 127.0.0.1:%d" % server.port,
        b"webhook-id: 1",
    ]
    assert body == b"\x00body"


async def test_a_connection_is_kept_for_the_next_call_and_cookies_are_not(caller: Caller) -> None:
    heard: list[bytes] = []

    async def biscuit(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(b"HTTP/1.1 200 OK\r\nset-cookie: a=b\r\ncontent-length: 0\r\n\r\n")
            heard.append(await read_request(reader))

    async with serving(biscuit) as server:
        for _ in range(3):
            assert (
                await caller.call(f"http://127.0.0.1:{server.port}/", {}, b"")
            ).status_code == 200
    assert (len(server.requests), len(heard)) == (1, 2)
    assert b"cookie" not in b"".join(heard).lower()


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308])
async def test_a_redirect_is_not_followed(caller: Caller, status: int) -> None:
    async with serving(polite) as inside:
        there = f"location: http://127.0.0.1:{inside.port}/".encode()
        redirect = b"HTTP/1.1 %d Go\r\n%b\r\ncontent-length: 0\r\n\r\n" % (status, there)
        async with serving(answering(redirect)) as server:
            answer = await caller.call(f"http://127.0.0.1:{server.port}/", {}, b"")
    assert answer.status_code == status
    assert answer.error == f"redirects are not followed ({status})"
    assert not inside.requests


async def test_proxies_of_the_environment_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(polite) as proxy, serving(polite) as server:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            for variable in (name, name.lower()):
                monkeypatch.setenv(variable, f"http://127.0.0.1:{proxy.port}")
        async with Caller(LOOPBACK) as caller:
            answer = await caller.call(f"http://127.0.0.1:{server.port}/", {}, b"")
    assert answer.status_code == 200
    assert not proxy.requests


_OK = b"HTTP/1.1 200 OK\r\n"
_ENDLESS = _OK + b"transfer-encoding: chunked\r\n\r\n"
_LATE = "no answer within 0.3 s"
_ENDED = "the connection ended before an answer"
_NO_HTTP = "the answer is not HTTP"
_NEVER = {
    "hangs": hanging,
    "drips a status line": repeating(b"H", pause=0.02),
    "drips a header": repeating(b"x", _OK + b"x-drip: ", pause=0.02),
    "asks for more for ever": repeating(b"HTTP/1.1 100 Continue\r\n\r\n"),
    "hints for ever": repeating(b"HTTP/1.1 103 Early Hints\r\n\r\n", pause=0.02),
}
_NO_ANSWER = {
    "endless headers": (repeating(b"x: y\r\n" * 1_000, _OK), _NO_HTTP),
    "an endless header": (repeating(b"x" * 9_000, _OK + b"x: "), _NO_HTTP),
    "endless bytes": (repeating(bytes(9_000)), _NO_HTTP),
    "another protocol": (answering(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"), _NO_HTTP),
    "a status too long": (answering(b"HTTP/1.1 999999 Hm\r\n\r\n"), _NO_HTTP),
    "a negative length": (answering(_OK + b"content-length: -1\r\n\r\n"), _NO_HTTP),
    "control characters": (answering(_OK + b"\xff\x00: \x01\r\n\r\n"), _NO_HTTP),
    "another protocol unasked": (
        answering(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n"),
        _NO_HTTP,
    ),
    "nothing": (answering(b""), _ENDED),
    "half a head": (answering(_OK), _ENDED),
    "a reset": (resetting, _ENDED),
}
_ANSWERS = {
    "a body that drips": (repeating(b"1\r\nx\r\n", _ENDLESS, pause=0.02), 200),
    "a body without end": (repeating(b"4000\r\n" + b"x" * 0x4000 + b"\r\n", _ENDLESS), 200),
    "a body that hangs": (repeating(b"", _ENDLESS, pause=0.02), 200),
    "a body cut off": (answering(_OK + b"content-length: 9\r\n\r\nshort"), 200),
    "no chunks": (answering(_ENDLESS + b"not a length\r\n"), 200),
    "no gzip": (answering(_OK + b"content-encoding: gzip\r\n\r\nit is not"), 200),
    "old HTTP": (answering(b"HTTP/1.0 500 Oh\r\n\r\n"), 500),
    "an unknown status": (answering(b"HTTP/1.1 599\r\ncontent-length: 0\r\n\r\n"), 599),
}


@pytest.mark.parametrize("name", _NEVER)
async def test_an_endpoint_that_never_answers_ends_in_time(name: str) -> None:
    begun = time.monotonic()
    async with serving(_NEVER[name]) as server, Caller(LOOPBACK, IMPATIENT) as caller:
        answer = await caller.call(f"http://127.0.0.1:{server.port}/", {}, b"{}")
        assert time.monotonic() - begun < IMPATIENT.total_seconds + GRACE
    assert (answer.status_code, answer.error) == (None, _LATE)
    assert answer.duration_seconds > IMPATIENT.total_seconds * 0.9


@pytest.mark.parametrize("name", _NO_ANSWER)
async def test_what_is_no_answer_is_said_to_be_none(caller: Caller, name: str) -> None:
    behaviour, error = _NO_ANSWER[name]
    async with serving(behaviour) as server:
        answer = await caller.call(f"http://127.0.0.1:{server.port}/", {}, b"{}")
    assert (answer.status_code, answer.error, answer.text) == (None, error, None)


@pytest.mark.parametrize("name", _ANSWERS)
async def test_what_has_answered_has_the_message_whatever_becomes_of_its_body(name: str) -> None:
    behaviour, status = _ANSWERS[name]
    begun = time.monotonic()
    async with serving(behaviour) as server, Caller(LOOPBACK, BRIEF) as caller:
        answer = await caller.call(f"http://127.0.0.1:{server.port}/", {}, b"{}")
        assert time.monotonic() - begun < BRIEF.total_seconds + GRACE
    assert (answer.status_code, answer.error) == (status, None)
    assert answer.text is not None
    assert len(answer.text) <= BRIEF.answer_bytes


async def test_an_endpoint_that_reads_nothing_does_not_hold_a_large_payload() -> None:
    never = asyncio.Event()

    async def deaf(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await never.wait()
        finally:
            writer.close()

    server = await asyncio.start_server(deaf, "127.0.0.1", 0)
    async with server, Caller(LOOPBACK, IMPATIENT) as caller:
        port = server.sockets[0].getsockname()[1]
        answer = await caller.call(f"http://127.0.0.1:{port}/", {}, bytes(32 * 1024 * 1024))
        never.set()
    assert answer.error == _LATE


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", ""),
        (b"x" * 1_024, "x" * 1_024),
        (b"x" * 100_000, "x" * 1_024),
        (b"x" * 1_023 + "\u00e9".encode(), "x" * 1_023),
        ("gr\u00fc\u00df".encode(), "gr\u00fc\u00df"),
        (b"a\r\n\tb\x00\x1b[31mc\x7f\x9b", "a   b[31mc\ufffd"),
        ("a\u202eb\u2066c\u200bd\u2028e".encode(), "abcd e"),
        (b"\xff\xfe\xed\xa0\x80", "\ufffd" * 5),
    ],
)
async def test_the_beginning_of_the_body_is_kept_as_harmless_text(
    caller: Caller, body: bytes, text: str
) -> None:
    async with serving(answering(b"HTTP/1.1 500 Oh\r\n\r\n" + body)) as server:
        answer = await caller.call(f"http://127.0.0.1:{server.port}/", {}, b"")
    assert answer.text == text


def _http_date(seconds: float) -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize(
    ("value", "least", "most"),
    [
        ("120", 120, 120),
        ("0", 0, 0),
        ("99999999", 86_400, 86_400),
        ("9" * 5_000, 86_400, 86_400),
        (_http_date(3_600), 3_400, 3_600),
        (_http_date(-3_600), 0, 0),
        (_http_date(10**9), 86_400, 86_400),
        ("Sun, 06 Nov 1994 08:49:37 -0000", 0, 0),
    ],
    # Not what now is: the names of tests are the same in every process.
    ids=["seconds", "none", "days", "no end", "in an hour", "over", "in years", "long over"],
)
async def test_when_to_come_again_is_heard(
    caller: Caller, value: str, least: float, most: float
) -> None:
    reply = f"HTTP/1.1 429 No\r\nRetry-After: {value}\r\ncontent-length: 0\r\n\r\n"
    async with serving(answering(reply.encode())) as server:
        answer = await caller.call(f"http://127.0.0.1:{server.port}/", {}, b"")
    assert answer.retry_after_seconds is not None
    assert least <= answer.retry_after_seconds <= most


@pytest.mark.parametrize(
    "value", ["", "soon", "-1", "1.5", "1e3", "\u00b2", "Mon, 99 Foo 99999 99:99:99 +99999999"]
)
async def test_when_to_come_again_is_not_guessed(caller: Caller, value: str) -> None:
    reply = f"HTTP/1.1 503 No\r\nretry-after: {value}\r\ncontent-length: 0\r\n\r\n"
    async with serving(answering(reply.encode("latin-1"))) as server:
        answer = await caller.call(f"http://127.0.0.1:{server.port}/", {}, b"")
    assert (answer.status_code, answer.retry_after_seconds) == (503, None)


async def test_one_address_that_is_not_public_refuses_the_call_as_a_whole() -> None:
    for inside in ("10.0.0.1", "::1", "169.254.169.254"):
        for answer in (["127.0.0.1", inside], [inside, "127.0.0.1"]):
            names = Names(**{"two.example": [answer]})
            async with serving(polite) as server, Caller(LOOPBACK, resolve=names) as caller:
                refused = await caller.call(f"https://two.example:{server.port}/", {}, b"")
            assert refused.error is not None
            assert refused.error.startswith("the address is not public (")
            assert not server.requests


async def test_what_was_looked_at_is_what_is_called_and_each_connection_looks_again() -> None:
    rebinding = [["127.0.0.1"], ["10.0.0.1"], ["127.0.0.1", "169.254.169.254"]]
    names = Names(**{"rebinding.example": rebinding})
    async with (
        serving(answering(_OK + b"content-length: 0\r\nconnection: close\r\n\r\n")) as server,
        Caller(LOOPBACK, resolve=names) as caller,
    ):
        host = f"rebinding.example:{server.port}"
        first = await caller.call(f"http://{host}/", {}, b"")
        later = [await caller.call(f"https://{host}/", {}, b"") for _ in range(2)]
    # The name means nothing to the system: only the address that was looked at can have been called.
    assert first.status_code == 200
    assert [answer.error for answer in later] == [
        "the address is not public (private)",
        "the address is not public (cloud metadata)",
    ]
    assert names.asked == ["rebinding.example"] * 3
    assert len(server.requests) == 1


async def test_http_is_for_allowed_networks_only() -> None:
    hosts = {"public.example": ["8.8.8.8"], "both.example": ["127.0.0.1", "8.8.8.8"]}
    names = Names(**{host: [answer] for host, answer in hosts.items()})
    async with Caller(LOOPBACK, resolve=names) as caller:
        for host in hosts:
            answer = await caller.call(f"http://{host}/", {}, b"")
            assert (answer.status_code, answer.error) == (None, "only https is called")


async def test_where_one_address_does_not_answer_the_next_is_tried() -> None:
    with socket.socket() as full, socket.socket() as waiting:
        # A queue of one connection that nobody accepts: further ones get no answer at all.
        full.bind(("127.0.0.3", 0))
        full.listen(0)
        waiting.connect(full.getsockname())
        port = full.getsockname()[1]
        server = await asyncio.start_server(_once, "127.0.0.1", port)
        answers = [["127.0.0.2", "127.0.0.3", "127.0.0.1"], ["127.0.0.3"], ["127.0.0.2"], []]
        names = Names(**{"some.example": answers})
        limits = Limits(connect_seconds=0.6, total_seconds=3)
        async with server, Caller(LOOPBACK, limits, resolve=names) as caller:
            url = f"http://some.example:{port}/"
            outcomes = [await caller.call(url, {}, b"") for _ in answers]
    assert [(one.status_code, one.error) for one in outcomes] == [
        (204, None),
        (None, "no connection within 0.6 s"),
        (None, "the host cannot be reached"),
        (None, "the host name cannot be resolved"),
    ]


async def _once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    writer.write(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n")
    writer.close()


async def test_a_resolver_that_hangs_or_fails_ends_in_time() -> None:
    async def lost(host: str) -> Sequence[str]:
        if host == "slow.example":
            await asyncio.Event().wait()
        raise socket.gaierror(-2, "Name or service not known: dns-1.inside.example")

    async with Caller((), Limits(connect_seconds=0.2), resolve=lost) as caller:
        slow = await caller.call("https://slow.example/", {}, b"")
        none = await caller.call("https://none.example/", {}, b"")
    assert slow.error == "no connection within 0.2 s"
    assert none.error == "the host name cannot be resolved"


async def test_names_whose_servers_hang_do_not_hold_up_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real, released = socket.getaddrinfo, threading.Event()

    def system(host: str, *arguments: Any, **options: Any) -> Any:
        if host.endswith(".example"):
            released.wait(DEADLINE)
            raise socket.gaierror(-3, "Temporary failure in name resolution")
        return real(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", system)
    async with serving(polite) as server, Caller(LOOPBACK) as caller:
        try:
            hanging = [
                asyncio.create_task(caller.call(f"https://{number}.example/", {}, b""))
                for number in range(100)
            ]
            answer = await caller.call(f"http://127.1:{server.port}/", {}, b"")
        finally:
            released.set()
        answers = await asyncio.gather(*hanging)
    assert answer.status_code == 200
    assert {one.error for one in answers} == {"the host name cannot be resolved"}


async def test_tls_goes_by_the_name_although_the_address_is_called(authority: Authority) -> None:
    asked: list[str | None] = []
    tls = authority.serving("hooks.example")
    tls.sni_callback = lambda _socket, name, _context: asked.append(name)
    names = Names(**{"hooks.example": [["127.0.0.1"]]})
    async with (
        serving(polite, tls=tls) as server,
        Caller(LOOPBACK, tls=authority.trusting(), resolve=names) as caller,
    ):
        answer = await caller.call(f"https://hooks.example:{server.port}/", {}, b"")
    assert (answer.status_code, answer.error) == (200, None)
    assert asked == ["hooks.example"]


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        ("another.example", {}),
        ("127.0.0.1", {}),
        ("hooks.example", {"valid": timedelta(days=-1)}),
        ("hooks.example", {"self_signed": True}),
    ],
)
async def test_a_certificate_that_does_not_fit_is_refused(
    authority: Authority, name: str, facts: dict[str, Any]
) -> None:
    names = Names(**{"hooks.example": [["127.0.0.1"]]})
    async with (
        serving(polite, tls=authority.serving(name, **facts)) as server,
        Caller(LOOPBACK, tls=authority.trusting(), resolve=names) as caller,
    ):
        answer = await caller.call(f"https://hooks.example:{server.port}/", {}, b"secret")
    assert (answer.status_code, answer.error) == (None, "the certificate is not valid")
    assert not server.requests


async def test_by_default_the_system_says_who_is_trusted(
    authority: Authority, caller: Caller
) -> None:
    async with serving(polite, tls=authority.serving("127.0.0.1")) as server:
        answer = await caller.call(f"https://127.0.0.1:{server.port}/", {}, b"secret")
    assert answer.error == "the certificate is not valid"
    assert not server.requests


async def test_an_address_may_have_a_certificate(authority: Authority) -> None:
    async with (
        serving(polite, tls=authority.serving("127.0.0.1")) as server,
        Caller(LOOPBACK, tls=authority.trusting()) as caller,
    ):
        answer = await caller.call(f"https://127.0.0.1:{server.port}/", {}, b"")
    assert answer.status_code == 200


async def test_https_with_a_server_that_speaks_none(caller: Caller) -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 This is no TLS\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(plain, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        answer = await caller.call(f"https://127.0.0.1:{port}/", {}, b"")
    assert answer.error == "no TLS connection could be made"


async def test_a_host_that_hangs_does_not_hold_the_calls_of_others() -> None:
    limits = Limits(connect_seconds=0.5, per_host=2, calls=3)
    names = Names(**{"slow.example": [["127.0.0.1"]] * 2, "quick.example": [["127.0.0.1"]]})
    both, enough, come = asyncio.Event(), asyncio.Event(), 0

    async def slow(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal come
        come += 1
        if come == limits.per_host:
            both.set()
        await enough.wait()
        writer.write(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n")

    async with (
        serving(slow) as server,
        serving(polite) as other,
        Caller(LOOPBACK, limits, resolve=names) as caller,
    ):
        url = f"http://slow.example:{server.port}/"
        held = [asyncio.create_task(caller.call(url, {}, b"")) for _ in range(2)]
        async with asyncio.timeout(DEADLINE):
            await both.wait()
        third = await caller.call(url, {}, b"")
        quick = await caller.call(f"http://quick.example:{other.port}/", {}, b"")
        enough.set()
        answers = await asyncio.gather(*held)
    assert third.error == "too many calls to this host are under way"
    assert quick.status_code == 200
    assert [answer.status_code for answer in answers] == [204, 204]
    assert len(server.requests) == 2


async def test_calls_at_once_are_bounded_over_all_hosts() -> None:
    limits, come, enough = Limits(connect_seconds=0.5, calls=1), asyncio.Event(), asyncio.Event()

    async def slow(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        come.set()
        await enough.wait()
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")

    async with serving(slow) as server, Caller(LOOPBACK, limits) as caller:
        held = asyncio.create_task(caller.call(f"http://127.0.0.1:{server.port}/", {}, b""))
        async with asyncio.timeout(DEADLINE):
            await come.wait()
        second = await caller.call(f"http://127.1:{server.port}/", {}, b"")
        enough.set()
        assert (await held).status_code == 204
    assert second.error == "too many calls are under way"


async def test_a_call_waits_for_its_turn() -> None:
    async with serving(polite) as server, Caller(LOOPBACK, Limits(per_host=1)) as caller:
        url = f"http://127.0.0.1:{server.port}/"
        answers = await asyncio.gather(*(caller.call(url, {}, b"") for _ in range(5)))
    assert [answer.status_code for answer in answers] == [200] * 5
    # One after the other over one connection.
    assert len(server.requests) == 1
