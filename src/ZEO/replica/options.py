"""How a replica reaches its primary: the arguments of its constructor, checked.

Enters: addresses and options as a program or a section gives them. Leaves: what a client storage
takes; addresses for people. Fails: ConfigurationError for what is wrong.
"""

from __future__ import annotations

from typing import Any

from ZEO.Exceptions import ConfigurationError
from ZEO.link.options import addresses_of
from ZEO.net.addresses import show

#: The options of a client storage that a replica has as well.
_OPTIONS = frozenset(
    """username password ssl ssl_server_hostname wait_timeout timeout min_disconnect_poll
    max_disconnect_poll""".split()
)

#: Seconds that a call waits for the connection.
_ATTEMPT = 10.0


def client_options(addr: Any, storage: str, options: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a client storage.

    :raises ConfigurationError: for an address that is not one, and an unknown option.
    """
    unknown = sorted(set(options) - _OPTIONS)
    if unknown:
        raise ConfigurationError(
            f'a replica has no option {unknown[0]!r}; those for reaching its primary are '
            f'{", ".join(sorted(_OPTIONS))}'
        )
    addresses_of(addr)
    return {'wait_timeout': _ATTEMPT, **options, 'storage': storage}


def shown(addr: Any) -> list[str]:
    """Return addresses as people write them."""
    return [show(address) for address in addresses_of(addr)]
