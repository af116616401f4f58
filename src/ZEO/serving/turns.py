"""A queue in which clients take turns: each in its order, one after the other among them.

Enters: things that wait, each for a client. Leaves: the next thing of the client whose turn it is,
or None. Fails: never.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

Thing = TypeVar('Thing')


def _any_client(client: Any) -> bool:
    return True


class Turns(Generic[Thing]):
    """What waits. A client with a hundred things has one place, which becomes the last one after
    each of its turns.
    """

    def __init__(self) -> None:
        # client -> its things, in the order of turns
        self._waiting: OrderedDict[Any, deque[Thing]] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def clients(self) -> list[Any]:
        """Return the clients that something waits for, the next one first."""
        return list(self._waiting)

    def add(self, client: Any, thing: Thing) -> None:
        """Let a thing wait for its client's turn."""
        self._waiting.setdefault(client, deque()).append(thing)
        self._count += 1

    def take(self, may: Callable[[Any], bool] = _any_client) -> tuple[Any, Thing] | None:
        """Remove and return the next thing, with its client.

        :param may: returns whether a client may have a turn now.
        :returns: None where nothing waits for such a client.
        """
        if not self._count:  # usually, where commits do not wait for one another
            return None
        found = next(
            ((client, things) for client, things in self._waiting.items() if may(client)), None
        )
        if found is None:
            return None
        client, things = found
        thing = things.popleft()
        self._count -= 1
        if things:
            self._waiting.move_to_end(client)
        else:
            del self._waiting[client]
        return client, thing

    def remove(self, client: Any, wanted: Callable[[Thing], bool]) -> None:
        """Remove those things of a client for which `wanted` is true."""
        things = self._waiting.get(client)
        if things is None:
            return
        kept = deque(thing for thing in things if not wanted(thing))
        self._count -= len(things) - len(kept)
        if kept:
            self._waiting[client] = kept
        else:
            del self._waiting[client]

    def forget(self, client: Any) -> list[Thing]:
        """Remove and return everything that waits for a client that is gone."""
        things = self._waiting.pop(client, deque())
        self._count -= len(things)
        return list(things)
