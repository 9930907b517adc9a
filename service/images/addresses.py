"""Which hosts and addresses images may be fetched from. Pure: names and numbers in, a verdict out."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from service.settings import PREFIX

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

PORTS = {"http": 80, "https": 443}
_SPECIAL = tuple(
    map(
        ipaddress.ip_network,
        ("100.64.0.0/10", "192.0.0.0/24", "192.88.99.0/24", "198.18.0.0/15", "64:ff9b:1::/48", "2001::/23", "5f00::/16"),
    )
)
"""Not the open internet by IANA's registries, whatever this release of Python knows of them."""
_TRANSLATED = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("::/96"))
"""IPv6 addresses whose last 32 bits are an IPv4 address that the packets end at."""


class NotAllowed(ValueError):
    """The URL or the address may not be asked; the message continues "the image"."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a URL points, taken apart once, so that what is checked is what is asked."""

    scheme: str
    host: str
    port: int
    path: str


@dataclass(frozen=True, slots=True)
class Rules:
    """`hosts`: names as in IMAGE_HOSTS, none: no URL at all; `networks`: addresses that are not public and allowed all the same."""

    hosts: tuple[str, ...]
    networks: tuple[Network, ...]

    @classmethod
    def of(cls, hosts: Sequence[str], networks: Sequence[str]) -> Rules:
        """Read the settings, which were checked when they were loaded."""
        return cls(tuple(host.lower() for host in hosts), tuple(ipaddress.ip_network(one) for one in networks))

    def target(self, url: str) -> Target:
        """Take a URL apart. Raises NotAllowed for one that may not be asked, whatever its host resolves to."""
        if not self.hosts:
            raise NotAllowed(f"is a URL, and these are not fetched here ({PREFIX}IMAGE_HOSTS); send a data URL or base64")
        try:
            parts = urlsplit(url)
            scheme, host, port = parts.scheme, (parts.hostname or "").rstrip("."), parts.port
        except ValueError:
            raise NotAllowed("has a URL that can't be read") from None
        if scheme not in PORTS or not host or parts.username is not None or parts.password is not None or not _plain(url):
            raise NotAllowed("has a URL that is not plain http or https")
        found = Target(scheme, host, port or PORTS[scheme], (parts.path or "/") + (f"?{parts.query}" if parts.query else ""))
        if not any(_matches(entry, found) for entry in self.hosts):
            raise NotAllowed(f"has a URL whose host or port is not allowed here ({PREFIX}IMAGE_HOSTS)")
        return found

    def check(self, address: str) -> None:
        """Raise NotAllowed for an address that is neither public nor in `networks`."""
        found = _innermost(ipaddress.ip_address(address.partition("%")[0]))
        if _within(found, self.networks):
            return
        if not found.is_global or found.is_multicast or found.is_reserved or _within(found, _SPECIAL):
            raise NotAllowed(f"has a URL whose host has no public address ({PREFIX}IMAGE_NETWORKS)")


def _within(address: Address, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks)


def _plain(url: str) -> bool:
    """No blanks, control characters or other scripts, which clients and servers read differently."""
    return url.isascii() and url.isprintable() and " " not in url and "\\" not in url


def _matches(entry: str, target: Target) -> bool:
    """Whether an entry of IMAGE_HOSTS, `host`, `*.host` or `*`, with a port or without, allows a target."""
    name, port = entry, None
    if entry.rpartition(":")[2].isdigit() and (entry.count(":") == 1 or "]:" in entry):
        name, _, port = entry.rpartition(":")
    if target.port != (int(port) if port else PORTS[target.scheme]):
        return False
    name = name.strip("[]")
    return name in ("*", target.host) or (name.startswith("*.") and target.host.endswith(name[1:]))


def _innermost(address: Address) -> Address:
    """The IPv4 address that an IPv6 one stands for, where it stands for one."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    inner = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
    if inner is None and _within(address, _TRANSLATED) and int(address) > 1:
        inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return inner or address
