"""Make and compare storages; convert_check.py runs this in an environment that has ZODB.

python convert_data.py make DATA.FS BLOBS a storage with revisions, an undo, blobs and transaction
metadata python convert_data.py show DATA.FS BLOBS each transaction as a line of JSON python
convert_data.py show-without-blobs DATA.FS BLOBS
"""

import hashlib
import json
import sys

import transaction
import ZODB
from BTrees.OOBTree import OOBTree
from ZODB.blob import Blob
from ZODB.FileStorage import FileStorage
from ZODB.POSException import POSKeyError


def make(path, blobs):
    """Fill a new storage."""
    db = ZODB.DB(FileStorage(path, blob_dir=blobs))
    connection = db.open()
    root = connection.root()
    root['tree'] = OOBTree()
    for number in range(50):
        root['tree'][f'key {number}'] = OOBTree({str(n): 'x' * number for n in range(20)})
        if number % 5 == 0:
            blob = root[f'blob {number}'] = Blob()
            with blob.open('w') as f:
                f.write(b'%d' % number * 10_000)
        transaction.get().note(f'number {number}')
        transaction.get().setUser('editor')
        transaction.get().setExtendedInfo('number', number)
        transaction.commit()
    with root['blob 0'].open('w') as f:
        f.write(b'a second revision')
    transaction.commit()
    db.undo(db.undoLog(0, 1)[0]['id'])
    transaction.commit()
    db.close()


def show(path, blobs, with_blobs=True):
    """Print each transaction with all that it has."""
    storage = FileStorage(path, blob_dir=blobs, read_only=True)
    for txn in storage.iterator():
        records = [
            (
                record.oid.hex(),
                record.tid.hex(),
                digest(record.data),
                with_blobs and blob(storage, record),
            )
            for record in txn
        ]
        print(
            json.dumps(
                [
                    txn.tid.hex(),
                    txn.status,
                    txn.user.decode(),
                    txn.description.decode(),
                    sorted(txn.extension.items()),
                    sorted(records),
                ]
            )
        )
    storage.close()


def show_without_blobs(path, blobs):
    """Print each transaction, but for the blobs."""
    show(path, blobs, with_blobs=False)


def blob(storage, record):
    """Return the digest of a record's blob file; None when it has none."""
    try:
        with open(storage.loadBlob(record.oid, record.tid), 'rb') as f:
            return digest(f.read())
    except POSKeyError:
        return None


def digest(data):
    return None if data is None else hashlib.sha256(data).hexdigest()[:16]


if __name__ == '__main__':
    {'make': make, 'show': show, 'show-without-blobs': show_without_blobs}[sys.argv[1]](
        *sys.argv[2:]
    )
