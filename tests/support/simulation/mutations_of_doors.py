"""Mistakes in what is done about errors within a call: plans with such errors have to find them.

Enters: nothing. Leaves: the list of them. Fails: never.
"""

from __future__ import annotations

from functools import partial

from support.simulation.mutation import Mutation

_Mutation = partial(Mutation, having='doors')

MUTATIONS = [
    _Mutation(
        'answered-behind-an-error',
        'the connection whose tpc_finish has failed does not hear that it is committed later',
        'link.applying',
        '            if callback is None or buffer.has_left:\n',
        '            if callback is None:\n',
    ),
    _Mutation(
        'not-applied-again',
        'a commit that could not be applied is left to the next cache check',
        'link.applying',
        '            self._apply_without_records(buffer, call_back, tid)\n',
        '            pass\n',
    ),
    _Mutation(
        'objects-kept-behind-an-abort',
        'objects stay as they were changed where tpc_abort has failed',
        'ClientStorage',
        '            self._state.forget_objects()\n            raise\n',
        '            raise\n',
    ),
    _Mutation(
        'lock-kept-behind-an-abort',
        'a connection stays though its tpc_abort has failed before it was sent',
        'link.commits',
        '            buffer.connection.lose('
        "f'{buffer.connection.where}: tpc_abort has failed', error)\n",
        '            pass\n',
    ),
    _Mutation(
        'lock-kept-behind-a-finish',
        'a connection stays though its tpc_finish has failed before it was sent',
        'link.commits',
        '            if not (is_under_way and isinstance(error, Exception)):\n',
        '            if not isinstance(error, Exception):\n',
    ),
    _Mutation(
        'kept-where-applying-fails',
        'a connection stays though what has come over it was applied in part',
        'link.reader',
        "            self._end('reading was interrupted', error)\n",
        '            pass\n',
    ),
]
