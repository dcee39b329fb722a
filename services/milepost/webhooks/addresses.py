"""Which addresses may be called: those of the public internet, and no others.

`ipaddress.is_global` alone lets through multicast, 6to4, NAT64, site-local addresses and more.
"""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Final

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# The first that fits gives the reason, so the special ones come before what surrounds them.
# IPv6 addresses that carry an IPv4 one are refused whatever that is: no public host needs them.
_DENIED: Final[tuple[tuple[Network, str], ...]] = tuple(
    (ip_network(network), reason)
    for reason, networks in {
        "cloud metadata": (
            "169.254.169.254 169.254.169.253 169.254.169.123 169.254.170.2 169.254.170.23 "
            "169.254.0.23 100.100.100.200 168.63.129.16 192.0.0.192 "
            "fd00:ec2::254 fd00:ec2::253 fd00:ec2::123 fd00:ec2::23 fd20:ce::254 "
            "fe80::a9fe:a9fe"
        ),
        "unspecified": "0.0.0.0/8 ::/128",
        "loopback": "127.0.0.0/8 ::1/128",
        "private": "10.0.0.0/8 172.16.0.0/12 192.168.0.0/16",
        "carrier NAT": "100.64.0.0/10",
        "link-local": "169.254.0.0/16 fe80::/10",
        "documentation": "192.0.2.0/24 198.51.100.0/24 203.0.113.0/24 2001:db8::/32 3fff::/20",
        "benchmarking": "198.18.0.0/15 2001:2::/48",
        "multicast": "224.0.0.0/4 ff00::/8",
        "broadcast": "255.255.255.255",
        "6to4": "192.88.99.0/24 2002::/16",
        "IPv4-mapped": "::ffff:0:0/96",
        "IPv4-translated": "::ffff:0:0:0/96",
        "IPv4-compatible": "::/96",
        "NAT64": "64:ff9b::/96 64:ff9b:1::/48",
        "Teredo": "2001::/32",
        "ORCHID": "2001:10::/28 2001:20::/28",
        "discard": "100::/64",
        "unique-local": "fc00::/7",
        "site-local": "fec0::/10",
        "segment routing": "5f00::/16",
        "reserved": "192.0.0.0/24 240.0.0.0/4 2001::/23",
    }.items()
    for network in networks.split()
)
# What IANA has given out for unicast; the rest of IPv6 is reserved.
_UNICAST: Final = IPv6Network("2000::/3")


def denial(address: Address, allowed: Sequence[Network] = ()) -> str | None:
    """Why `address` may not be called, in a word or two such as "private"; None when it may.

    What lies in one of the `allowed` networks may be called whatever it is.
    """
    if is_in(address, allowed):
        return None
    for network, reason in _DENIED:
        if address in network:
            return reason
    if not address.is_global or (address.version == 6 and address not in _UNICAST):
        return "reserved"
    return None


def is_in(address: Address, networks: Sequence[Network]) -> bool:
    """Whether one of `networks` holds `address`."""
    return any(address in network for network in networks)
