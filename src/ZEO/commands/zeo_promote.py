"""The command ``zeo promote``: make a follower the primary.

Enters: the addresses of followers, and a storage. Leaves: the one of them that has the most takes
writes, a line about it, and exit status 0. Fails: with one line on standard error: exit status 1
where a follower must not be promoted, or refuses; 2 for a wrong command line, or when a server does
not answer. Nothing is promoted then.

A follower that is cut off from its primary looks the same as one whose primary is gone. So the
others are asked what they see: all that are named, and those that the named ones may follow.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

from ZEO.commands.live_primary import look_for_primary
from ZEO.commands.options import Parser, output, program
from ZEO.commands.probing import NoAnswer, Refused, ask, parse, promote
from ZEO.commands.reaching import FORMS, Reaching, add_reaching, reaching
from ZEO.net.addresses import show
from ZEO.wire.quoting import cleaned

#: The exit statuses of a follower that is not promoted, and of a server that does not answer.
REFUSED, NO_ANSWER = 1, 2

#: Seconds for everything: a follower may be writing a large transaction.
TIMEOUT = 90.0

#: States of a replica in which its data may not be what clients need -> why.
_DOUBTFUL = {
    'copying': 'it has not copied everything yet, and would serve an old or incomplete database',
    'following': 'its primary {primary} is there and takes writes: stop it first, so that there '
    'are not two',
    'refused': 'it does not follow, since {error}',
    'fenced': 'it waits for {needed} followers that agree, since another server may have taken its '
    'place (fence)',
}


class Asked(NamedTuple):
    """A server and what it says of the storage."""

    address: Any
    replica: dict[str, Any]  # its status as a replica
    last: str  # the last transaction, in hexadecimal digits


class Refusal(Exception):
    """Nothing is promoted; the text says why."""


def parser() -> Parser:
    """Return what reads the command line."""
    made = Parser(
        program('zeo promote'),
        description="""Make a follower the primary: it ends following and takes writes. Of several,
        the one that has the newest transaction is taken, and all of them have to answer. No server
        that they know may have a primary that takes writes.""",
        epilog="""The exit status is 0 when it is the primary, also if it was before; 1 when it must
        not become that, or refuses; 2 when a server does not answer.""",
    )
    add = made.add_argument
    add(
        'addresses',
        metavar='ADDRESS',
        nargs='+',
        help=f'of a follower: {FORMS}',
    )
    add('-S', '--storage', metavar='NAME', default='1', help='the storage; the default is 1')
    add(
        '--force',
        action='store_true',
        help='promote it although its primary is there, or it has not everything, or it does not '
        'follow',
    )
    add_reaching(made, TIMEOUT)
    return made


def main(args: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status.

    :param args: the command line without the command's name; the process's own by default.
    """
    made = parser()
    return made.run(lambda options: _promote(made, options), args)


def _promote(made: Parser, options: Any) -> int:
    addresses, way = [parse(text) for text in options.addresses], reaching(options)
    try:
        asked = [_ask(address, options.storage, way) for address in addresses]
        chosen = _choose(asked, options.force)
        if chosen.replica.get('state') != 'promoted' and not options.force:
            _refuse_beside_primary(chosen, asked, options.storage, way)
        tid = promote(chosen.address, options.storage, way.timeout, **way.of_probe)
    except NoAnswer as error:
        made.warn(str(error))
        return REFUSED if isinstance(error, Refused) else NO_ANSWER
    except Refusal as error:
        made.warn(str(error))
        return REFUSED
    with output():
        print(
            f'{show(chosen.address)}: storage {cleaned(options.storage)} is the primary, its last '
            f'transaction is {tid.hex()}'
        )
    return 0


def _refuse_beside_primary(chosen: Asked, asked: list[Asked], storage: str, way: Reaching) -> None:
    """Look whether another server has, or is, a primary that takes writes.

    :raises Refusal: when it does.
    """
    found = look_for_primary({one.address: one.replica for one in asked}, storage, way)
    if found is not None:
        raise Refusal(
            f'{show(chosen.address)}: {found}: stop the primary first, so that there are not two '
            '(--force promotes it anyway)'
        )


def _ask(address: Any, storage: str, way: Reaching) -> Asked:
    try:
        status = ask(address, storage, way.timeout, **way.of_probe)
    except NoAnswer as error:
        raise NoAnswer(f'{show(address)}: {error}') from None
    replica = status.get('replica')
    fence = status.get('fence')
    if not isinstance(replica, dict) and isinstance(fence, dict):
        replica = {'state': 'fenced', **fence}
    if not isinstance(replica, dict):
        raise Refusal(
            f'{show(address)}: storage {storage} is not a replica, so there is nothing to promote'
        )
    return Asked(address, replica, str(status.get('last-transaction', '')))


def _choose(asked: list[Asked], force: bool) -> Asked:
    """Return the one to promote: one that was before, else the one that has the most.

    :raises Refusal: when it must not be promoted, unless `force`.
    """
    for one in asked:
        if one.replica.get('state') == 'promoted':
            return one
    chosen = max(asked, key=lambda one: one.last)
    state = 'copying' if chosen.replica.get('whole') is False else chosen.replica.get('state')
    why = _DOUBTFUL.get(str(state))
    if why is not None and not force:
        known = {key: chosen.replica.get(key) for key in ('error', 'needed')}
        # older followers do not say which of several servers it is
        connected = chosen.replica.get('connected-to')
        known['primary'] = connected or ', '.join(map(str, chosen.replica.get('primary') or ()))
        raise Refusal(f'{show(chosen.address)}: {why.format(**known)} (--force promotes it anyway)')
    return chosen


if __name__ == '__main__':
    sys.exit(main())
