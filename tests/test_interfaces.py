"""What ZEO.interfaces says that others offer, they do."""

from ZODB.FileStorage import FileStorage
from zope.interface.verify import verifyObject

from ZEO.interfaces import IServeable


def test_a_file_storage_offers_what_a_server_may_ask_of_a_storage(tmp_path):
    storage = FileStorage(str(tmp_path / 'Data.fs'))
    assert verifyObject(IServeable, storage, tentative=True)
    storage.close()
