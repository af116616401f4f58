"""Which of several servers a replica follows.

Enters: the addresses of a replica, which may be those of all servers, its own among them. Leaves:
connections to those that can be followed, the best one first: a primary; without one, a follower
that has its own primary at hand. Fails: ClientDisconnected when there is none for now;
:class:`NotFollowed` for a single address that leads back to this replica; what servers raise.

Followers that follow one another, or themselves, would never hear of anything any more, and say
that they have all. So each says whom it goes through on the way to its primary.
"""

from __future__ import annotations

import os
from typing import Any

from ZEO.Exceptions import ClientDisconnected
from ZEO.link.options import addresses_of
from ZEO.net.addresses import show
from ZEO.net.system import System
from ZEO.replica.errors import NotFollowed
from ZEO.replica.primary import Primary
from ZEO.wire.extensions import PRIMARY

#: Seconds in which all servers may answer, before one of those is taken that have.
_ROUND = 1.0

#: Seconds between two looks at whether there is a better server than a follower.
_LOOK_AGAIN = 1.0

_PROMOTED, _PRIMARY, _FOLLOWER = range(3)


class Upstreams:
    """The servers at all addresses, with a connection to each until a primary is followed.

    :param addr: the addresses of a replica.
    :param options: for a client storage of one of them.
    :param own: the id of the replica.
    """

    def __init__(self, addr: Any, options: dict[str, Any], own: str, system: System) -> None:
        self._own = own
        self._system = system
        self._passed_over: list[Primary] = []
        self._all: list[Primary] = []
        addresses = addresses_of(addr)
        self._addresses = [show(address) for address in addresses]
        #: Whether there are several.
        self.is_choice = len(addresses) > 1
        try:
            for number, address in enumerate(addresses):
                self._all.append(Primary(address, _with_own_blobs(options, number), system))
        except BaseException:
            self.close()
            raise

    def ready(self, have: bytes) -> list[Primary]:
        """Return those that can be followed, the best one first: at least one.

        :param have: the last transaction that the replica has; of several, a follower that does not
            have it yet is left out.

        :raises ClientDisconnected: when there is none for now.
        :raises NotFollowed: when the only one leads back to this replica.
        """
        answering = self._answering()
        if not self.is_choice:
            self._look_for_circle(answering[0])
            return answering
        found = [one for one in sorted(answering, key=_rank) if self._may_follow(one, have)]
        if not found:
            raise ClientDisconnected(
                f'none of {", ".join(self._addresses)} can be reached and is a primary, or a '
                'follower that has its primary at hand and all that this one has: if the primary '
                'is gone, promote a follower (zeo promote)'
            )
        return found

    def _answering(self) -> list[Primary]:
        until = self._system.now() + _ROUND
        found: list[Primary] = []
        errors: list[BaseException] = []
        for one in self._all:
            try:
                one.connect(max(0.0, until - self._system.now()))
            except Exception as error:  # it is raised if it concerns all
                errors.append(error)
            else:
                found.append(one)
        if not found:
            refusals = [error for error in errors if not isinstance(error, ClientDisconnected)]
            raise (refusals or errors)[0]
        return found

    def _may_follow(self, one: Primary, have: bytes) -> bool:
        if not one.is_replica():
            return True
        return self._leads_to_primary(one) and one.last() >= have

    def _leads_to_primary(self, one: Primary) -> bool:
        return one.follows() and self._own not in one.chain()

    def _look_for_circle(self, one: Primary) -> None:
        chain = one.chain()
        if self._own in chain:
            what = 'is this replica itself' if chain[0] == self._own else 'follows this replica'
            raise NotFollowed(
                f'{one.where} {what}, so it is not a primary: give the address of another server'
            )

    def passed_over(self, one: Primary) -> None:
        """This one must not be followed."""
        self._passed_over.append(one)

    def follows(self, chosen: Primary) -> None:
        """This one is followed from now on; others are kept as long as they may be better."""
        if self.is_choice and not chosen.is_replica():
            for one in self._all:
                if one is not chosen:
                    one.close()
            self._all = [chosen]

    def look_every(self, seconds: float) -> float:
        """Return after how many seconds :meth:`look` is to be called, at most these."""
        return min(seconds, _LOOK_AGAIN) if len(self._all) > 1 else seconds

    def look(self, chosen: Primary) -> None:
        """Return if it is right to go on with the one that is followed.

        :raises NotFollowed: when the only one follows this replica by now.
        :raises ClientDisconnected: when there may be a better one.
        """
        if not self.is_choice:
            self._look_for_circle(chosen)
            return
        if chosen.is_replica() and not self._leads_to_primary(chosen):
            raise ClientDisconnected(f'{chosen.where} is a follower that has lost its own primary')
        for one in self._all:
            if one is not chosen and one not in self._passed_over and one.is_primary():
                raise ClientDisconnected(f'{one.where} is the primary by now, so it is tried')

    def close(self) -> None:
        """End all connections."""
        for one in self._all:
            one.close()


def _with_own_blobs(options: dict[str, Any], number: int) -> dict[str, Any]:
    directory = options.get('blob_dir')
    if directory is None:
        return options
    return {**options, 'blob_dir': os.path.join(directory, str(number))}


def _rank(one: Primary) -> int:
    """Return a number that is lower for a better one: a server that was promoted has taken the
    place of another one.
    """
    if one.is_replica():
        return _FOLLOWER
    return _PROMOTED if one.role() == PRIMARY else _PRIMARY
