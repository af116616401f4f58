"""ZODB's tests of blobs, and of deleting objects, on clients of a server process."""

import pytest
from ZODB.tests.PackableStorage import IExternalGC_suite
from ZODB.tests.testblob import storage_reusable_suite

from support import kinds, suites
from support.served import Servers

SERVERS = Servers()


@pytest.fixture(scope='module', autouse=True)
def server_process():
    """End the process that all tests of this module share."""
    yield
    SERVERS.end()


@pytest.fixture(autouse=True)
def directory(tmp_path):
    """Keep the server's files apart from the suites' own directories, and close what was opened."""
    SERVERS.directory = tmp_path
    yield
    SERVERS.stop()


def factory(kind):
    """Return what ZODB's suites make their storages with: a fresh one behind the server."""

    def create_storage(name, blob_dir):
        files = SERVERS.directory / name
        blobs = blob_dir if kind.blobs == 'shared' else files / 'blobs'
        address = SERVERS.serve(kind, files, blobs, slot=name)
        return SERVERS.open(kind, address, blob_dir)

    return create_storage


def suite(name, kind, **options):
    """Return ZODB's suite for storages with blobs."""
    return storage_reusable_suite(name, factory(kind), **options)


@suites.parameters(
    suite('Shared', kinds.FILE_SHARED_BLOBS, test_packing=True, test_blob_storage_recovery=True),
)
def test_file_storage_with_shared_blobs(case):
    """A blob directory that server and client share."""
    suites.run(case)


@suites.parameters(
    suite('Transferred', kinds.FILE_TRANSFERRED_BLOBS, test_blob_storage_recovery=True),
)
def test_file_storage_with_transferred_blobs(case):
    """Blobs that travel over the wire."""
    suites.run(case)


@suites.parameters(
    suite('Mapping', kinds.MAPPING_SHARED_BLOBS, test_undo=False),
)
def test_mapping_storage_with_shared_blobs(case):
    """Blobs beside a storage that has none by itself, in a shared directory."""
    suites.run(case)


@suites.parameters(
    suite('Mapping', kinds.MAPPING_TRANSFERRED_BLOBS, test_undo=False),
)
def test_mapping_storage_with_transferred_blobs(case):
    """Blobs beside a storage that has none by itself, over the wire."""
    suites.run(case)


@suites.parameters(
    IExternalGC_suite(lambda: factory(kinds.FILE_SHARED_BLOBS_WITHOUT_GC)('data', 'blobs')),
)
def test_external_garbage_collection(case):
    """Deleting objects."""
    suites.run(case)
