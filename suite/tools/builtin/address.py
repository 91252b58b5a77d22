"""Which addresses of the web tools may reach: public ones, and those that the settings list."""

from __future__ import annotations

import ipaddress
import re
import socket
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

import psutil

from suite.errors import BadRequest, Denied, SettingsError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
URL_LIMIT = 4096  # characters
PORTS = {"http": 80, "https": 443}
_SPECIAL = tuple(map(ipaddress.ip_network, (  # of IANA's registries of special addresses, plus multicast and what stands for an IPv4 address
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24",
    "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/3",
    "2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20")))
_UNICAST = ipaddress.ip_network("2000::/3")  # the only IPv6 addresses that anybody on the internet can have
_NAME = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


@dataclass(frozen=True)
class Target:
    """Where a URL leads: scheme, host (canonical, an IPv6 address without brackets) and port."""

    scheme: str
    host: str
    port: int

    @property
    def place(self) -> str:
        """`host:port`, as a list of allowed places names it."""
        return place_of(self.host, self.port)


def place_of(host: str, port: int) -> str:
    """`host:port`, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_public(address: Address) -> bool:
    """Whether an address belongs to the public internet and is nobody's inside, not even in another notation."""
    if isinstance(address, ipaddress.IPv6Address) and (address not in _UNICAST or address.scope_id is not None):
        return False
    return not any(address in network for network in _SPECIAL if network.version == address.version)


def canonical_host(host: str) -> str:
    """A host name in small ASCII letters, or an address in its one usual notation.

    Raises Denied for IPv4 addresses in octal, hexadecimal, decimal or shortened notation, BadRequest for what is no host.
    """
    if ":" in host:
        try:
            address = ipaddress.IPv6Address(host)
        except ValueError:
            raise BadRequest(f"{host[:80]!r} is no host; name one such as example.org.", param="url") from None
        if address.scope_id is not None:
            raise Denied(f"{host[:80]!r} is an address of one network card only; name a public one.", param="url")
        return str(address)
    try:
        plain = unicodedata.normalize("NFKC", host).encode("idna").decode("ascii").lower().removesuffix(".")
    except UnicodeError:
        raise BadRequest(f"{host[:80]!r} is no host; name one such as example.org.", param="url") from None
    if len(plain) > 253 or not _NAME.fullmatch(plain):
        raise BadRequest(f"{host[:80]!r} is no host; name one such as example.org.", param="url")
    if _NUMBER.fullmatch(plain.rpartition(".")[2]) and not _is_quad(plain):
        raise Denied(f"{host[:80]!r} is an address in an unusual notation; write it as four decimal numbers.", param="url")
    return plain


def _is_quad(host: str) -> bool:
    try:
        return str(ipaddress.IPv4Address(host)) == host
    except ValueError:
        return False


def resolved(host: str, port: int) -> list[str]:
    """The addresses that the system's resolver has for a name now; raises OSError."""
    return list(dict.fromkeys(str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)))


class Addresses:
    """The policy of addresses. `allowed` lists hosts, or `host:port`, that may be reached though they are not public."""

    def __init__(self, allowed: Iterable[str] = (), resolve: Callable[[str, int], list[str]] = resolved) -> None:
        self._allowed = frozenset(map(_allowed_place, allowed))
        self._resolve = resolve

    def target(self, url: str) -> Target:
        """Where a URL leads, by its text alone.

        Raises Denied for anything but http and https, for credentials and unusual notations; BadRequest for what is no URL.
        """
        if len(url) > URL_LIMIT or any(letter <= " " or letter in "\\\x7f" or unicodedata.category(letter) in ("Cc", "Cs", "Zs") for letter in url):
            raise BadRequest(f"The URL {url[:80]!r} is too long, or holds a space, a backslash or a control character; encode those.", param="url")
        scheme, separator, _ = url.partition(":")
        if scheme.lower() not in PORTS:
            raise Denied(f"The web tools open http and https only, not {scheme[:40] + separator!r}; name such a URL.", param="url")
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise BadRequest(f"The URL {url[:80]!r} cannot be read ({str(error)[:80]}); write it as https://host/path.", param="url") from None
        if "@" in parts.netloc:
            raise Denied("The URL holds a user name or a password; leave them out, tools do not log in by URL.", param="url")
        if not host or port == 0 or ("[" in parts.netloc) != (":" in host):
            raise BadRequest(f"The URL {url[:80]!r} has no host or no usable port; write it as https://host/path.", param="url")
        return Target(parts.scheme, canonical_host(host), PORTS[parts.scheme] if port is None else port)

    def reach(self, host: str, port: int) -> list[str]:
        """The addresses to connect to for a canonical host, resolved now, every one of them checked.

        Raises Denied when one of them is not public and the host is not listed, BadRequest when the name has none.
        """
        try:
            found = [host] if _literal(host) else self._resolve(host, port)
            addresses = [ipaddress.ip_address(text) for text in found]
        except (OSError, ValueError, UnicodeError):
            addresses = []
        if not addresses:
            raise BadRequest(f"There is no address for the host {host[:80]!r}; check its name and the network.", param="url")
        if not {host, place_of(host, port)} & self._allowed:
            own = _own_addresses()
            if any(not is_public(address) or address in own for address in addresses):
                raise Denied(f"{place_of(host, port)[:100]!r} is not an address of the public internet; list it in WEB_ALLOWED to let tools "
                             "reach it.", param="url")
        return [str(address) for address in addresses]

    def check(self, url: str) -> Target:
        """Where a URL leads, when it may be reached now; the proxy asks again whenever something connects."""
        target = self.target(url)
        self.reach(target.host, target.port)
        return target


def _literal(host: str) -> bool:
    return ":" in host or _is_quad(host)


def _own_addresses() -> set[Address]:
    """This machine's own, public or not: what listens on all of its cards is no more meant for tools than what listens on loopback."""
    texts = [entry.address.partition("%")[0] for entries in psutil.net_if_addrs().values() for entry in entries
             if entry.family in (socket.AF_INET, socket.AF_INET6)]
    return {ipaddress.ip_address(text) for text in texts}


def _allowed_place(entry: str) -> str:
    """An entry of the list in the one notation that is compared."""
    match = re.fullmatch(r"\[(?P<six>[^\]]+)\](:(?P<port6>\d+))?|(?P<host>[^:]+)(:(?P<port>\d+))?|(?P<bare>[0-9a-fA-F:]+)", entry.strip())
    if match is None:
        raise SettingsError(f"WEB_ALLOWED holds {entry[:80]!r}, which is neither a host nor host:port; write it as intranet:8080.")
    try:
        host = canonical_host(match["six"] or match["host"] or match["bare"])
    except (BadRequest, Denied) as error:
        raise SettingsError(f"WEB_ALLOWED holds {entry[:80]!r}: {error}") from None
    port = match["port6"] or match["port"]
    return place_of(host, int(port)) if port else host
