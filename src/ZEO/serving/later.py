"""Answers that come later: of work in another thread, or of waiting for what other clients hold.

Enters: a :class:`Later` that a call has returned instead of a result. Leaves: one call of its
`answered` or `failed`, in the loop's thread. Fails: with what the
work, or the waiting, has failed with.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ZEO.net.loop import ENDS


class Later:
    """The answer to a call, which is not known yet."""

    #: When a thread has begun to work for it; 0.0 where that is not known.
    begun = 0.0

    #: Whether the thread that has worked for it is done, and its outcome is on its way.
    is_done = False

    def __init__(self) -> None:
        self._answered: Callable[[Any], None] | None = None
        self._failed: Callable[[BaseException], None] | None = None
        self._outcome: tuple[bool, Any] | None = None

    @property
    def outcome(self) -> tuple[bool, Any] | None:
        """Whether it was answered and not failed, and with what; None while that is not known."""
        return self._outcome

    def then(
        self, answered: Callable[[Any], None], failed: Callable[[BaseException], None]
    ) -> None:
        """Call one of these functions: at once if the outcome is known, else later.

        :param answered: takes the result.
        :param failed: takes the error; also the one that `answered` has raised, since somebody may
            wait for what that was to do.
        """
        self._answered, self._failed = answered, failed
        self._tell()

    def answer(self, result: Any) -> None:
        """Give the result of the call."""
        self._settle(True, result)

    def fail(self, error: BaseException) -> None:
        """Give the error of the call."""
        self._settle(False, error)

    def _settle(self, good: bool, value: Any) -> None:
        if self._outcome is None:  # a commit that timed out may be answered a second time
            self._outcome = good, value
            self._tell()

    def _tell(self) -> None:
        if self._outcome is None or self._answered is None or self._failed is None:
            return
        good, value = self._outcome
        if good:
            try:
                self._answered(value)
                return
            except ENDS:
                raise
            except BaseException as error:  # there may be no memory for the answer
                value = error
        self._failed(value)


def after(first: Later, do: Callable[[Any], Any]) -> Later:
    """Return the answer of `do`, which is given that of `first`; it fails as either of them does.

    :param do: called in the loop's thread; returns the answer, or a Later of it.
    """
    answer = Later()

    def go_on(result: Any) -> None:
        try:
            found = do(result)
        # as in dispatch: whatever a storage may raise is the answer
        except BaseException as error:
            answer.fail(error)
            if isinstance(error, ENDS):
                raise
        else:
            if isinstance(found, Later):
                found.then(answer.answer, answer.fail)
            else:
                answer.answer(found)

    first.then(go_on, answer.fail)
    return answer
