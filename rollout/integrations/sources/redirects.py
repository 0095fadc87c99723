"""Where a server may send us: never from https to http, never to what only this machine can reach.

A host that the policy admits may be anywhere. Whoever it redirects to may not: a private address behind a
redirect is a way into the network that the fetching machine stands in.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from urllib.parse import urljoin, urlsplit

from rollout.errors import Unreadable

MAX_REDIRECTS = 5
_NETLOC = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_HARMLESS = frozenset({"Accept-Encoding", "Range"})
STATUSES = frozenset({301, 302, 303, 307, 308})
# What the internet's IPv6 hosts have (RFC 4291), and the prefix of translated IPv4 addresses (RFC 6052).
_UNICAST = ipaddress.IPv6Network("2000::/3")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_NEVER = (
    # Counted as global, and yet answered by the cloud that a machine stands in, with its credentials.
    ipaddress.ip_network("168.63.129.16/32"),  # Azure's wire server
    ipaddress.ip_network("192.0.0.0/24"),  # IETF protocol assignments; .192 is Oracle's old metadata service
    ipaddress.ip_network("2001::/32"),  # Teredo
)

Authority = tuple[str, int]
"""A host in lower case, and its port."""


def authority(url: str) -> Authority:
    """Who answers for a URL. Raises Unreadable if nobody can."""
    try:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        raise Unreadable("a server redirects to something that is no address") from None
    # No other form: two readers of one address could see two hosts in it.
    if parts.scheme not in {"https", "http"} or not _NETLOC.fullmatch(parts.netloc):
        raise Unreadable("a server redirects to something that is not fetched")
    return (parts.hostname or "").lower(), port


def next_url(url: str, location: str) -> str:
    """Where a redirect leads. Raises Unreadable if it must not be followed."""
    try:
        target = urljoin(url, location)
    except ValueError:
        raise Unreadable("a server redirects to something that is no address") from None
    here, there = authority(url), authority(target)
    if target.startswith("http://") and (url.startswith("https://") or here != there):
        raise Unreadable(f"{here[0]} redirects to plain http, which is refused")
    return target


def sent_to(asked: Authority, headers: Mapping[str, str], origin: Authority) -> dict[str, str]:
    """The headers for whoever is asked: what could be a secret is for the origin alone."""
    return {name: value for name, value in headers.items() if asked == origin or name in _HARMLESS}


def check_address(written: str, asked: Authority, origin: Authority) -> None:
    """Raise Unreadable if an address is private and belongs to anybody but the origin.

    `written` is the address in numbers. A host name here means that it has not been resolved yet: it passes,
    and is checked again with what it resolves to.
    """
    if asked == origin:
        return
    try:
        private = not is_public(ipaddress.ip_address(written.split("%")[0]))
    except ValueError:
        # 2130706433 and 127.1 are no addresses here, and 127.0.0.1 to whoever connects without resolving them.
        private = written.replace(".", "").isdigit()
    if private:
        raise Unreadable(f"{origin[0]} leads to {asked[0]}, which has a private address: that is refused")


def is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether an address belongs to the internet, seen through IPv6's ways of writing an IPv4 one."""
    if any(address in network for network in _NEVER if network.version == address.version):
        return False
    if isinstance(address, ipaddress.IPv4Address):
        return address.is_global and not address.is_multicast
    inner = _inner(address)
    if inner is not None:
        return is_public(inner)
    return address in _UNICAST and address.is_global


def _inner(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that a translator or a tunnel would connect to.

    Teredo, IPv4-compatible addresses and the rest lie outside of what is public, whoever is inside.
    """
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour
