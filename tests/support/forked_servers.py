"""Servers of primaries and followers that are killed: ``python -m support.forked_servers``.

This process imports everything once and forks for each server, so that hundreds of kills take
seconds.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from typing import Any

from ZODB.FileStorage import FileStorage

from support import jsonlines
from ZEO.replica.storage import Replica
from ZEO.serving.crash_safety import mend
from ZEO.StorageServer import StorageServer


class Servers:
    """The command: fork a server."""

    def do_serve(
        self, address: str, path: str, primary: str | None = None, options: Any = None
    ) -> int:
        """Serve a FileStorage with blobs, or a replica; return the number of the process.

        :param primary: the address of what the replica follows.
        """
        pid = os.fork()
        if pid == 0:
            try:
                _serve(address, path, primary, options or {})
            except BaseException:
                logging.exception('%s failed', path)
            finally:
                os._exit(1)
        return pid


def _serve(address: str, path: str, primary: str | None, options: dict[str, Any]) -> None:
    logging.basicConfig(
        filename=path + '.log', level=logging.INFO, format='%(asctime)s %(process)d %(message)s'
    )
    if primary is None:
        mend(path)
        storage: Any = FileStorage(path, blob_dir=path + '.blobs')
    else:
        storage = Replica(
            primary, path, blob_dir=path + '.blobs', max_disconnect_poll=0.1, **options
        )
    if os.path.exists(address):
        os.unlink(address)
    server = StorageServer(address, {'1': storage})
    signal.signal(signal.SIGTERM, lambda *_: server.stop())
    # Python's handlers run in the main thread, where the loop is
    assert threading.current_thread() is threading.main_thread()
    server.serve_forever()
    server.close()
    os._exit(0)


if __name__ == '__main__':
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    jsonlines.serve(Servers())
