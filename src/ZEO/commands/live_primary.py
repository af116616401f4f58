"""Whether there is a primary that takes writes, as far as servers that can be reached know.

Enters: what followers say of themselves. Leaves: which server has a primary at hand, or is one, in
words. Fails: never; a server that does not answer knows nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ZEO.commands.probing import NoAnswer, ask, parse
from ZEO.commands.reaching import Reaching
from ZEO.Exceptions import ConfigurationError
from ZEO.net.addresses import Address, show

#: Seconds for each server that only others have named: it may be off, as the primary mostly is.
_PATIENCE = 3.0

#: How many of these are asked.
_MOST = 16

#: States of a follower that has what it follows at hand.
_FOLLOWS = ('following', 'copying')


def look_for_primary(
    named: Mapping[Address, Mapping[str, Any]], storage: str, way: Reaching
) -> str | None:
    """Return which server has a primary at hand, or is one; None when there is none.

    :param named: what followers say of themselves, by their addresses.
    :param way: how those are reached that only the followers know.
    """
    found = dict(named)
    for address in _others(named):
        try:
            status = ask(address, storage, min(way.timeout, _PATIENCE), **way.of_probe)
        except NoAnswer:
            continue
        replica = status.get('replica')
        if isinstance(replica, dict):
            found[address] = replica
        elif 'fence' not in status:
            return f'{show(address)} is a primary and takes writes'
    return _seen(found)


def _seen(found: Mapping[Address, Mapping[str, Any]]) -> str | None:
    """Return what one of these followers has at hand."""
    alone = {
        chain[0]
        for one in found.values()
        if (chain := _chain(one)) and one.get('state') not in _FOLLOWS
    }
    for address, one in found.items():
        if one.get('state') == 'promoted':
            return f'{show(address)} was promoted and takes writes'
        # what follows a follower without a primary has seen none either
        if one.get('state') in _FOLLOWS and alone.isdisjoint(_chain(one)[-1:]):
            return f'{show(address)} follows {_primary(one)}, which is there'
    return None


def _primary(one: Mapping[str, Any]) -> str:
    """Return what a follower follows."""
    return str(one.get('connected-to') or ', '.join(_texts(one.get('primary'))) or 'a primary')


def _chain(one: Mapping[str, Any]) -> list[str]:
    """Return the ids of a follower and of those between it and its primary."""
    return _texts(one.get('chain'))


def _texts(given: Any) -> list[str]:
    return (
        [one for one in given if isinstance(one, str)] if isinstance(given, (list, tuple)) else []
    )


def _others(named: Mapping[Address, Mapping[str, Any]]) -> list[Address]:
    """Return the addresses that only the followers know."""
    found: dict[Address, None] = {}
    for address, one in named.items():
        found.update(dict.fromkeys(_known(address, one)))
    return [address for address in found if address not in named][:_MOST]


def _known(address: Address, one: Mapping[str, Any]) -> Iterator[Address]:
    """Yield the addresses of servers that a follower may follow."""
    for text in _texts(one.get('primary')):
        try:
            other = parse(text)
        except ConfigurationError:
            continue
        # on another machine, such an address is that of another server
        if _is_local(address) or not _is_local(other):
            yield other


def _is_local(address: Address) -> bool:
    """Return whether an address means another server on each machine."""
    if not isinstance(address, tuple):
        return True
    host = str(address[0])
    return host in ('', 'localhost', '::1') or host.startswith('127.')
