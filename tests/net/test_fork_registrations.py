"""What is to be called in forked children is forgotten with its object."""

import gc

from ZEO.net import system


class Registered:
    def called(self):
        """Do nothing."""


def test_nothing_is_kept_of_an_object_that_is_gone():
    gc.collect()
    before = len(system._IN_CHILDREN)
    alive = Registered()
    for one in [alive, *(Registered() for _ in range(10))]:
        system.REAL.after_fork_in_child(one.called)
    del one
    gc.collect()
    assert len(system._IN_CHILDREN) == before + 1
