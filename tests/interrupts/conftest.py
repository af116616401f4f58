"""A client under strikes, with a server in the same process."""

import shutil
import tempfile

import pytest

from support.interrupted import Setting


@pytest.fixture
def make_setting():
    """A function that returns a server with one client beside it."""
    made = []

    def make(disk):
        directory = tempfile.mkdtemp(prefix='zeo-', dir='/tmp')
        made.append(Setting(directory, disk))
        return made[-1]

    yield make
    for setting in made:
        setting.close()
        shutil.rmtree(setting.directory)
