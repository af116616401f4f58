"""How long the calls of a connection may take, and how long its server may be silent.

Enters: calls whose callers are about to sleep; when the server sent something last. Leaves: for how
long they may sleep; a question for a sign of life. Fails: never; what has taken too long ends the
connection.
"""

from __future__ import annotations

from collections.abc import Callable

from ZEO.link.waiting import Waiting
from ZEO.net.stream import TICK
from ZEO.net.system import System

#: Seconds after which a call that has no answer ends its connection, unless the user says
#: otherwise: more than the slowest of honest answers takes, and less than an operator waits before
#: restarting the client.
TIME_LIMIT = 300.0

#: Calls that take as long as the database is large, or wait for the commits of other clients:
#: without a limit by default.
_AS_LONG_AS_IT_TAKES = frozenset(('pack', 'vote', 'commit_after'))

#: Seconds without a message from the server, while a call waits for it, after which it is asked for
#: a sign of life; and after which it is given up. A healthy server answers a ping at once, whatever
#: its storages do.
ASK_AFTER, GIVE_UP_AFTER = 30.0, 120.0


class Deadlines:
    """Those of one connection.

    :param limit: seconds that a call may take; 0: any; None: the default of :func:`time_limit`.
    :param ask: asks the server for a sign of life.
    :param end: ends the connection: ``end(reason, cause)``.
    """

    def __init__(
        self,
        limit: float | None,
        ask: Callable[[], None],
        end: Callable[[str, BaseException | None], None],
        system: System,
    ) -> None:
        self._limit = time_limit('', limit)
        self._long_limit = time_limit('pack', limit)
        self._first_sleep = TICK if self._limit is None else min(self._limit, TICK)
        self._ask = ask
        self._end = end
        self._system = system
        self._asked_at = 0.0  # for a sign of life
        self.ask_after, self.give_up_after = ASK_AFTER, GIVE_UP_AFTER
        # when part of an answer that comes in many messages has come
        self._part_came = 0.0

    def part_has_come(self) -> None:
        """Part of an answer that comes in many messages has come: its caller may wait on."""
        self._part_came = self._system.now()

    def look(self, waiting: Waiting, heard: float) -> float:
        """Look at the deadlines of a call whose caller is about to sleep; returns for how long it
        may, in seconds.

        :param heard: when the server sent something last.
        """
        now = self._system.now()
        if now - heard > self.ask_after:
            self._check_silence(now, heard)
        limit = waiting.limit
        if waiting.since is None:
            waiting.since = now
            if limit is None:  # as most calls, which are answered before they look again
                return self._first_sleep
        if limit is None:
            is_long = waiting.name in _AS_LONG_AS_IT_TAKES
            limit = self._long_limit if is_long else self._limit
            if limit is None:
                return TICK
        left = max(waiting.since, self._part_came) + limit - now
        if left <= 0:
            self._end(f'the server has not {waiting.awaited} within {limit:g} s', None)
        return min(max(left, 0.0), TICK)

    def _check_silence(self, now: float, heard: float) -> None:
        silent = now - heard
        if silent > self.give_up_after:
            self._end(
                f'the server has sent nothing for {silent:.0f} s, and has not answered a ping', None
            )
        elif silent > self.ask_after and self._asked_at <= heard:
            self._asked_at = now
            self._ask()


def time_limit(name: str, limit: float | None) -> float | None:
    """Return the seconds that a call may take, None for any.

    :param limit: what the user has set: None for the default, 0 for no limit.
    """
    if limit is None:
        return None if name in _AS_LONG_AS_IT_TAKES else TIME_LIMIT
    return limit or None
