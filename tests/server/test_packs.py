"""What clients and the log are told of packs that fail."""

import threading

import pytest
from ZODB.FileStorage import FileStorage
from ZODB.POSException import StorageError
from ZODB.utils import z64

from support.history import committed
from ZEO.StorageServer import StorageServer


def test_a_pack_of_records_that_only_clients_can_read_says_so(sockets, clients, tmp_path, caplog):
    server = StorageServer(sockets(), {'1': FileStorage(str(tmp_path / 'Data.fs'))})
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        client = clients(server.addr)
        committed(client, [z64], data=b'.z: compressed')
        with pytest.raises(StorageError, match='nothing was packed.*the other half of that'):
            client.pack(0x7FFFFFFF, None, True)
        assert 'pack of 1 failed: StorageError: nothing was packed' in caplog.text
    finally:
        server.close()
        thread.join(20)
