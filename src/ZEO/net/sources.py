"""Where connections come from: those from one host are counted together.

Enters: the address of a peer. Leaves: a short text that is the same for all connections from one
host. Fails: never.
"""

from __future__ import annotations

import ipaddress

#: The source of all connections over Unix sockets, which have no address to distinguish them by.
UNIX = 'a Unix socket'


def source_of(address: object) -> str:
    """Return the host; for IPv6 its /64 network, all of whose addresses one host may have."""
    host = _host(address)
    if host is None:
        return UNIX
    parsed = _parsed(host)
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.IPv6Network((int(parsed) >> 64 << 64, 64)))
    return host if parsed is None else str(parsed)


def is_local(address: object) -> bool:
    """Return whether the peer is on this machine: on a Unix socket or the loopback interface."""
    host = _host(address)
    if host is None:
        return True
    parsed = _parsed(host)
    return parsed is not None and parsed.is_loopback


def _host(address: object) -> str | None:
    if isinstance(address, (tuple, list)) and len(address) >= 2:
        return str(address[0])
    return None


def _parsed(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        parsed = ipaddress.ip_address(host.partition('%')[0])
    except ValueError:
        return None
    mapped = getattr(parsed, 'ipv4_mapped', None)  # an IPv4 client of a socket that speaks both
    return mapped or parsed
