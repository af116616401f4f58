"""Making the storage of a follower that of a primary, while it is served.

Enters: a hosted replica. Leaves: the same, which ends following and takes writes. Fails:
ReadOnlyError for a server that is to stay read-only; StorageError for a storage that is not a
replica, or is being promoted; with what the replica raises.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from ZODB.POSException import ReadOnlyError, StorageError

from ZEO.serving.later import Later

if TYPE_CHECKING:
    from ZEO.serving.hosted import HostedStorage

log = logging.getLogger('ZEO.StorageServer')


class Promotion:
    """That of `hosted`.

    :param stays_read_only: whether the server is configured to refuse all writes.
    """

    def __init__(self, hosted: HostedStorage, stays_read_only: bool) -> None:
        self._hosted = hosted
        self._stays_read_only = stays_read_only
        self._runs = False

    def start(self, client: Any) -> Later:
        """Promote the replica; a second time, nothing changes.

        :param client: who wants that.
        :returns: answered with the last transaction once the storage takes writes.
        :raises ReadOnlyError: when the server is configured to refuse writes.
        :raises StorageError: for another kind of storage.
        """
        hosted = self._hosted
        promote = getattr(hosted.storage, 'promote', None)
        if hosted.fence.is_closed:
            client.report(
                logging.WARNING, 'promotions', 'opens the fence of storage %s', hosted.name
            )
            hosted.fence.open()
            answer = Later()
            answer.answer(hosted.last_transaction())
            return answer
        if promote is None:
            raise StorageError(
                f'the storage {hosted.name!r} of this server is not a replica: there is nothing to '
                'promote'
            )
        if self._stays_read_only:
            raise ReadOnlyError(
                f'the storage {hosted.name!r} cannot be promoted, since this server is configured '
                'as read-only: start it without read-only first'
            )
        if self._runs:
            raise StorageError(f'the storage {hosted.name!r} is being promoted already')
        answer, promoting = Later(), hosted.backend.compute(promote)
        self._runs = True
        client.report(logging.WARNING, 'promotions', 'promotes storage %s', hosted.name)

        def done(tid: bytes) -> None:
            self._runs = False
            hosted.become_writable()
            log.warning('storage %s is promoted: it takes writes from now on', hosted.name)
            answer.answer(tid)

        def failed(error: BaseException) -> None:
            self._runs = False
            answer.fail(error)

        promoting.then(done, failed)
        return answer
