"""What is to be called in forked children is forgotten with its object."""

import gc

from ZEO.net import system


class Registered:
    def called(self):
        """Do nothing."""


def kept():
    """Return what is kept; more than this test's, as other threads of this process have theirs."""
    return tuple(system._IN_CHILDREN.values())


def test_nothing_is_kept_of_an_object_that_is_gone():
    objects = [Registered() for _ in range(11)]
    for one in objects:
        system.REAL.after_fork_in_child(one.called)
    references = [one for one in kept() if isinstance(getattr(one(), '__self__', None), Registered)]
    assert len(references) == 11
    del objects[1:], one
    gc.collect()
    still = {id(one) for one in kept()}
    assert [one().__self__ for one in references if id(one) in still] == objects
