"""An application forks after opening: parent and child do not share one socket."""

import pytest
from ZODB.FileStorage import FileStorage

from support.children import SideProcess
from support.sides import OURS

pytestmark = pytest.mark.smoke


def test_parent_and_child_go_on_with_a_connection_each(serving, tmp_path):
    """Both commit at the same time while a thread of the parent keeps the link busy; the parent
    keeps its connection.
    """
    server = serving(FileStorage(str(tmp_path / 'data.fs'), blob_dir=str(tmp_path / 'blobs')))
    process = SideProcess(
        OURS, ['python', '-m', 'support.forker', str(server.addr), str(tmp_path / 'client')]
    )
    try:
        lines = [process.output.line(40), process.output.line(40)]
        assert lines == [b'child 2', b'parent 20 20 0'], process.errors.seen
    finally:
        process.close()
