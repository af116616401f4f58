"""Paths at which something of another kind is are found before the start, by ``zeo check`` too."""

from __future__ import annotations

import os
import re

import pytest

from ZEO.commands import zeo
from ZEO.config.loading import load_text
from ZEO.config.server import settings
from ZEO.Exceptions import ConfigurationError, Unavailable

pytestmark = pytest.mark.smoke

CONFIGURATION = """\
%import ZEO
<zeo>
  address {address}
  {zeo}
</zeo>
{storages}
"""

FILE = '<filestorage 1>\npath {0}/Data.fs\n</filestorage>\n'

#: For each key: what the configuration has beside an address and a storage, and what is said.
WRONG = {
    'address': ({'address': '{0}/directory'}, 'cannot listen on .*directory.*not a socket'),
    'address, a file': ({'address': '{0}/file'}, 'cannot listen on .*file.*not a socket'),
    'address below a file': (
        {'address': '{0}/file/socket'},
        'cannot listen on .*there is no directory .*file',
    ),
    'pid-filename': ({'zeo': 'pid-filename {0}/directory'}, 'not a regular file but a directory'),
    'pid-filename, data': ({'zeo': 'pid-filename {0}/file'}, 'does not hold a process id'),
    'logfile': (
        {'storages': FILE + '<eventlog>\n<logfile>\npath {0}/directory\n</logfile>\n</eventlog>'},
        'line 10: the log file .* is a directory: name a file, such as .*directory/zeo.log',
    ),
    'filestorage': (
        {'storages': '<filestorage 1>\npath {0}/directory\n</filestorage>'},
        'line 6: path .* of storage 1 is a directory',
    ),
    'grouped-filestorage': (
        {'storages': '<grouped-filestorage 1>\npath {0}/directory\n</grouped-filestorage>'},
        'line 6: path .* of storage 1 is a directory',
    ),
    'replica': (
        {'storages': '<replica 1>\nserver localhost:1\npath {0}/directory\n</replica>'},
        'line 6: path .* of storage 1 is a directory',
    ),
    'a storage in another': (
        {
            'storages': '<demostorage 1>\n<filestorage>\npath {0}/directory\n</filestorage>\n'
            '</demostorage>'
        },
        'line 7: path .* of storage 1 is a directory',
    ),
    'blob-dir': (
        {'storages': '<filestorage 1>\npath {0}/Data.fs\nblob-dir {0}/file\n</filestorage>'},
        'line 6: blob-dir .*/file of storage 1 is not a directory',
    ),
    'blob-dir of a replica': (
        {'storages': '<replica 1>\nserver a:1\npath {0}/r.fs\nblob-dir {0}/file\n</replica>'},
        'line 6: blob-dir .*/file of storage 1 is not a directory',
    ),
    'one path twice': (
        {'storages': FILE + FILE.replace('1>', '2>').replace('/Data', '/directory/../Data')},
        'line 9: storages 1 and 2 have the same path',
    ),
}


@pytest.fixture
def text(tmp_path):
    """A function that returns a configuration, beside a directory and a file of text."""
    (tmp_path / 'directory').mkdir()
    (tmp_path / 'file').write_text('not a process id\n')

    def made(address='127.0.0.1:0', zeo='', storages=FILE):
        return CONFIGURATION.format(address=address, zeo=zeo, storages=storages).replace(
            '{0}', str(tmp_path)
        )

    return made


@pytest.mark.parametrize('what', WRONG)
def test_a_path_of_another_kind_is_found_before_anything_is_made(what, text, tmp_path):
    parts, said = WRONG[what]
    before = sorted(tmp_path.rglob('*'))
    with pytest.raises(ConfigurationError, match=said) as caught:
        settings(load_text(text(**parts), 'zeo.conf')).check()
    assert not isinstance(caught.value, Unavailable)
    assert sorted(tmp_path.rglob('*')) == before


@pytest.mark.parametrize('what', WRONG)
def test_zeo_check_says_so(what, text, tmp_path, capsys):
    parts, said = WRONG[what]
    (tmp_path / 'zeo.conf').write_text(text(**parts))
    assert zeo.main(['check', str(tmp_path / 'zeo.conf')]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith('zeo check: ') and re.search(said, printed)


def test_a_directory_of_a_socket_may_come_later(text):
    """It may be on a disk that is not mounted yet, or made by a supervisor."""
    with pytest.raises(Unavailable, match='there is no directory'):
        settings(load_text(text(address='{0}/later/socket'), 'zeo.conf')).check()


def test_what_a_server_has_left_is_no_mistake(text, tmp_path):
    """Its log, its pid file, its data; devices and names of streams are files for a log."""
    (tmp_path / 'Data.fs').write_bytes(b'FS21')
    (tmp_path / 'pid').write_text('123\n')
    (tmp_path / 'blobs').mkdir()
    for log in ('{0}/file', 'STDOUT', '/dev/null'):
        storages = (
            '<filestorage 1>\npath {0}/Data.fs\nblob-dir {0}/blobs\n</filestorage>\n'
            f'<eventlog>\n<logfile>\npath {log}\n</logfile>\n</eventlog>'
        )
        settings(load_text(text(zeo='pid-filename {0}/pid', storages=storages), 'z')).check()


def test_one_file_may_be_read_twice(text):
    section = '<filestorage {}>\npath {{0}}/Data.fs\nread-only true\n</filestorage>\n'
    settings(load_text(text(storages=section.format(1) + section.format(2)), 'z')).check()


@pytest.fixture
def read_only_disk(monkeypatch):
    """Every disk looks as if it were mounted read-only."""
    found = os.statvfs

    def read_only(path):
        flags = list(found(path))
        flags[8] |= os.ST_RDONLY
        return os.statvfs_result(flags)

    monkeypatch.setattr(os, 'statvfs', read_only)


def test_a_disk_that_is_read_only_is_found_before_the_start(text, tmp_path, read_only_disk):
    with pytest.raises(Unavailable, match='line .*path .* is on a read-only file system'):
        settings(load_text(text(), 'zeo.conf')).check()
    (tmp_path / 'zeo.conf').write_text(text())
    assert zeo.main(['check', str(tmp_path / 'zeo.conf')]) == 1


def test_on_a_read_only_disk_a_storage_may_be_served_read_only(text, read_only_disk):
    section = '<filestorage 1>\npath {0}/Data.fs\nread-only true\n</filestorage>\n'
    settings(load_text(text(storages=section), 'z')).check()
