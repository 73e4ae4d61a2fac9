"""Which names an HTTP server answers to. Pure.

A page that somebody opens elsewhere can have its own name point at a server of this machine and then read it as its own
(DNS rebinding). Such a request still carries that name in its Host header, so a server refuses names that it does not
know. An address cannot be rebound: the server's own is always right.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

_HOST = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]{2,45})\]|(?P<name>[A-Za-z0-9._-]{1,253}))(?::[0-9]{1,5})?")
#: What a further name may be: a name, or `*.` and the end of names.
PATTERN = r"(\*\.)?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*"


class Hosts:
    """Names that a server answers to: localhost, the address that a request has come in at, and those given.

    names: `*.example.com` stands for every name that ends so.
    """

    def __init__(self, names: Iterable[str]) -> None:
        lowered = [name.lower() for name in names]
        self._names = {"localhost", *(name for name in lowered if not name.startswith("*"))}
        self._ends = tuple(name[1:] for name in lowered if name.startswith("*"))

    def allow(self, header: str, address: str | None) -> bool:
        """Whether a Host header is one of ours. address: of this server, as the connection has it."""
        found = _HOST.fullmatch(header)
        if found is None:
            return False
        name = (found["six"] or found["name"]).lower().removesuffix(".")
        there = address_of(name)
        if there is not None:
            return there.is_loopback or (address is not None and there == address_of(address))
        is_below = any(name.endswith(end) and len(name) > len(end) for end in self._ends)
        return found["six"] is None and (name in self._names or is_below)


def address_of(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The IP address that a text is, IPv4 in IPv6 as IPv4; None if it is none."""
    try:
        found = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = getattr(found, "ipv4_mapped", None)
    return mapped if mapped is not None else found
