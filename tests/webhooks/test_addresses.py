"""Addresses that may be called, address by address, and hosts that mean them in odd forms."""

from collections.abc import AsyncIterator
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from milepost.webhooks.addresses import denial
from milepost.webhooks.calls import Caller
from milepost.webhooks.guard import Refused, target

PUBLIC = """
    1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0
    168.63.129.15 168.63.129.17 169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0 192.0.1.0
    192.167.255.255 192.169.0.0 198.17.255.255 198.20.0.0 203.0.112.255 203.0.114.0 223.255.255.255
    2001:200:: 2001:4860:4860::8888 2606:4700:4700::1111 2003:: 2a00:1450:4001:831::200e
    2001:db7:ffff:: 2001:db9:: 3ffe:ffff::
"""
DENIED = {
    "cloud metadata": """
        169.254.169.254 169.254.169.253 169.254.170.2 169.254.170.23 169.254.0.23 100.100.100.200
        168.63.129.16 192.0.0.192 fd00:ec2::254 fd00:ec2::23 fd00:ec2:0:0:0:0:0:254 fd20:ce::254
        fe80::a9fe:a9fe fe80::a9fe:a9fe%eth0
    """,
    "unspecified": "0.0.0.0 0.0.0.1 0.255.255.255 :: 0:0:0:0:0:0:0:0",
    "loopback": "127.0.0.1 127.0.0.0 127.1.2.3 127.255.255.255 ::1 0:0:0:0:0:0:0:1 ::1%lo",
    "private": """
        10.0.0.0 10.1.2.3 10.255.255.255 172.16.0.0 172.20.10.5 172.31.255.255 192.168.0.0
        192.168.1.1 192.168.255.255
    """,
    "carrier NAT": "100.64.0.0 100.64.0.1 100.100.100.199 100.127.255.255",
    "link-local": """
        169.254.0.1 169.254.169.252 169.254.255.255 fe80:: fe80::1 fe80::1%1 fe80::1%eth0
        febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff
    """,
    "documentation": """
        192.0.2.1 198.51.100.1 203.0.113.255 2001:db8:: 2001:db8:ffff::1 3fff:: 3fff:fff:ffff::1
    """,
    "benchmarking": "198.18.0.0 198.18.0.1 198.19.255.255 2001:2::1",
    "multicast": "224.0.0.1 233.252.0.1 239.255.255.255 ff00:: ff02::1 ff0e::1 ff05::1:3",
    "broadcast": "255.255.255.255",
    "6to4": "192.88.99.1 192.88.99.255 2002:: 2002:7f00:1:: 2002:a9fe:a9fe::1 2002:808:808::1",
    "IPv4-mapped": """
        ::ffff:127.0.0.1 ::ffff:7f00:1 ::ffff:10.0.0.1 ::ffff:169.254.169.254 ::ffff:8.8.8.8
        0:0:0:0:0:ffff:7f00:1 ::ffff:0.0.0.0
    """,
    "IPv4-translated": "::ffff:0:127.0.0.1 ::ffff:0:7f00:1 ::ffff:0:808:808",
    "IPv4-compatible": "::7f00:1 ::127.0.0.1 ::a9fe:a9fe ::8.8.8.8 ::2",
    "NAT64": """
        64:ff9b:: 64:ff9b::127.0.0.1 64:ff9b::a9fe:a9fe 64:ff9b::8.8.8.8 64:ff9b:1::
        64:ff9b:1:fffe::7f00:1 64:ff9b:1:a9fe:a9fe::
    """,
    "Teredo": "2001:: 2001:0:4136:e378:8000:63bf:3fff:fdd2 2001:0:7f00:1::",
    "ORCHID": "2001:10::1 2001:20::1 2001:2f:ffff::",
    "discard": "100:: 100::ffff:ffff:ffff:ffff",
    "unique-local": "fc00:: fc00::1 fd00:: fd12:3456:789a::1 fdff::1 fd00:ec2::255",
    "site-local": "fec0:: fec0::1 fec0:0:0:ffff::1 feff:ffff::1",
    "segment routing": "5f00:: 5f00:1::1",
    "reserved": """
        192.0.0.0 192.0.0.8 192.0.0.170 240.0.0.0 245.1.1.1 255.255.255.254 2001:1::1 2001:30::1
        2001:1ff:: 100:0:0:1::1 1:: 200::1 400::1 1000::1 1fff:ffff:: 4000:: 6000::1 8000:: a000::
        c000:: e000:: f000:: f800:: fe00:: fe7f:: 64:ff9c::1 64:ff9b:2::1 ::1:0:0:0:0
    """,
}
CASES = [(text, reason) for reason, texts in DENIED.items() for text in texts.split()]


@pytest.mark.parametrize("text", PUBLIC.split())
def test_a_public_address_may_be_called(text: str) -> None:
    assert denial(ip_address(text)) is None


@pytest.mark.parametrize(("text", "reason"), CASES)
def test_an_address_that_is_not_public_may_not(text: str, reason: str) -> None:
    assert denial(ip_address(text)) == reason


def test_the_table_is_long_enough_to_mean_something() -> None:
    assert len({text for text, _ in CASES}) == len(CASES) >= 100


@given(st.builds(IPv4Address, st.integers(0, 2**32 - 1)))
def test_an_ipv4_address_within_an_ipv6_one_is_never_called(carried: IPv4Address) -> None:
    number = int(carried)
    for carrier in (
        number,
        0xFFFF << 32 | number,
        0xFFFF << 48 | number,
        0x64_FF9B << 96 | number,
        0x2002 << 112 | number << 80,
        0x2001 << 112 | number << 64,
    ):
        assert denial(IPv6Address(carrier)) is not None


@given(
    st.builds(IPv4Address, st.integers(0, 2**32 - 1))
    | st.builds(IPv6Address, st.integers(0, 2**128 - 1))
)
def test_nothing_is_called_that_the_registries_of_python_hold_for_special(
    address: IPv4Address | IPv6Address,
) -> None:
    if denial(address) is None:
        assert address.is_global
        assert not address.is_multicast
        assert not address.is_reserved


def test_what_is_allowed_wins_and_nothing_beside_it() -> None:
    allowed = (ip_network("10.20.0.0/16"), ip_network("fd00:20::/32"), ip_network("127.0.0.1/32"))
    for text in ("10.20.0.0", "10.20.255.255", "fd00:20::1", "127.0.0.1", "8.8.8.8"):
        assert denial(ip_address(text), allowed) is None
    for text, reason in {
        "10.21.0.0": "private",
        "127.0.0.2": "loopback",
        "::ffff:127.0.0.1": "IPv4-mapped",
        "::ffff:10.20.0.1": "IPv4-mapped",
        "fd00:21::1": "unique-local",
    }.items():
        assert denial(ip_address(text), allowed) == reason


@pytest.fixture(scope="module")
async def caller() -> AsyncIterator[Caller]:
    """Nothing is allowed but what is public."""
    async with Caller() as caller:
        yield caller


# Forms that no DNS server is asked for.
@pytest.mark.parametrize(
    ("host", "reason"),
    [
        ("127.0.0.1", "loopback"),
        ("2130706433", "loopback"),
        ("0x7f000001", "loopback"),
        ("0X7F000001", "loopback"),
        ("017700000001", "loopback"),
        ("0x7f.1", "loopback"),
        ("0x7f.0x0.0x0.0x1", "loopback"),
        ("127.1", "loopback"),
        ("127.0.1", "loopback"),
        ("127.0x1", "loopback"),
        ("0", "unspecified"),
        ("0.0", "unspecified"),
        ("0x0", "unspecified"),
        ("10.1", "private"),
        ("167772161", "private"),
        ("0xa9fea9fe", "cloud metadata"),
        ("2852039166", "cloud metadata"),
        ("169.254.43518", "cloud metadata"),
        ("169.16689662", "cloud metadata"),
        ("4294967295", "broadcast"),
        ("127\uff0e0\uff0e0\uff0e1", "loopback"),
        ("127\u30020\u30020\u30021", "loopback"),
        ("localhost", "loopback"),
        ("LOCALHOST", "loopback"),
        ("[::1]", "loopback"),
        ("[::]", "unspecified"),
        ("[0000:0000:0000:0000:0000:0000:0000:0001]", "loopback"),
        ("[::ffff:127.0.0.1]", "IPv4-mapped"),
        ("[::FFFF:7F00:1]", "IPv4-mapped"),
        ("[::127.0.0.1]", "IPv4-compatible"),
        ("[64:ff9b::169.254.169.254]", "NAT64"),
        ("[2002:a9fe:a9fe::]", "6to4"),
        ("[fd00:ec2::254]", "cloud metadata"),
        ("[fe80::1]", "link-local"),
        ("[fec0::1]", "site-local"),
    ],
)
async def test_a_host_that_means_such_an_address_in_another_form_is_refused(
    host: str, reason: str, caller: Caller
) -> None:
    answer = await caller.call(f"https://{host}:8443/hook", {}, b"")
    assert (answer.status_code, answer.error) == (None, f"the address is not public ({reason})")


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "only https is called"),
        ("hooks.example", "only https is called"),
        ("//hooks.example/", "only https is called"),
        ("ftp://hooks.example/", "only https is called"),
        ("file:///etc/passwd", "only https is called"),
        ("gopher://127.0.0.1:6379/_INFO", "only https is called"),
        ("unix:///run/docker.sock", "only https is called"),
        ("wss://hooks.example/", "only https is called"),
        ("https://user@hooks.example/", "the URL has user information"),
        ("https://user:password@hooks.example/", "the URL has user information"),
        ("https://:@hooks.example/", "the URL has user information"),
        ("https://hooks.example@127.0.0.1/", "the URL has user information"),
        ("https://127.0.0.1\\@hooks.example/", "the URL has user information"),
        ("https://", "the URL is not valid"),
        ("https:///path", "the URL is not valid"),
        ("https://:443/", "the URL is not valid"),
        ("https://hooks.example:0/", "the URL is not valid"),
        ("https://hooks.example:-1/", "the URL is not valid"),
        ("https://hooks.example:65536/", "the URL is not valid"),
        ("https://hooks.example:port/", "the URL is not valid"),
        ("https://hooks.example\r\nx: y/", "the URL is not valid"),
        ("https://hooks.example\t/", "the URL is not valid"),
        ("https://hooks example/", "the URL is not valid"),
        ("https://hooks%2eexample/", "the URL is not valid"),
        ("https://127.0.0.1%00.example/", "the URL is not valid"),
        ("https://hooks.example\x00/", "the URL is not valid"),
        ("https://\u2460\u2461\u2466.0.0.1/", "the URL is not valid"),
        ("https://\u0661\u0662\u0667.0.0.1/", "the URL is not valid"),
        ("https://0177.0.0.1/", "the URL is not valid"),
        ("https://0251.0376.0251.0376/", "the URL is not valid"),
        ("https://127.0.0.256/", "the URL is not valid"),
        ("https://[fe80::1%25eth0]/", "the URL is not valid"),
        ("https://[fe80::1%eth0]/", "the URL is not valid"),
        ("https://[::1/", "the URL is not valid"),
        ("https://[127.0.0.1]/", "the URL is not valid"),
        ("https://[v1.x]/", "the URL is not valid"),
        (f"https://{'a' * 254}/", "the URL is not valid"),
        ("https://hooks..example/", "the host name cannot be resolved"),
        (f"https://{'a' * 64}.example/", "the host name cannot be resolved"),
    ],
)
async def test_a_url_that_is_not_called_is_refused_before_anything_is_sent(
    url: str, reason: str, caller: Caller
) -> None:
    answer = await caller.call(url, {}, b"")
    assert (answer.status_code, answer.error) == (None, reason)


@given(st.text())
def test_no_text_is_more_than_refused(text: str) -> None:
    for url in (text, f"https://{text}", f"https://hooks.example/{text}"):
        try:
            parsed = target(url)
        except Refused:
            continue
        assert parsed.scheme in ("http", "https")
        assert parsed.raw_path.isascii()
        assert not {*parsed.raw_path} & {*b" \r\n\t\x00"}


@pytest.mark.parametrize(
    "url", ["https://hooks.example", "https://hooks.example:8443/a?b=c#d", "http://h/"]
)
def test_an_ordinary_url_may_have_any_port(url: str) -> None:
    assert target(url).host in ("hooks.example", "h")
