"""What lies at a cache's path: a cache is used, and anything else keeps its bytes."""

import os
import stat

import pytest
from ZODB.utils import p64

from ZEO.cache import format, trace
from ZEO.cache.client_cache import ClientCache
from ZEO.ClientStorage import ClientStorage
from ZEO.Exceptions import ClientStorageError

SIZE = 1_000_000
TEXT = b'Dear reader,\n' * 1000


def works(cache):
    """Show that a cache is one, and close it."""
    cache.store(p64(1), p64(1), None, b'data')
    assert cache.load(p64(1)) == (b'data', p64(1))
    cache.close()


def old_cache():
    """What begins as the caches of ZEO 5 and 6 do."""
    return b'ZEC3' + b'\0' * 5000


def other_version():
    return format.pack_header(SIZE, '').replace(b'\n\1\0', b'\n\2\0', 1) + b'\0' * 8192


@pytest.mark.parametrize(
    'content',
    [TEXT, b'x', b'\0' * 10_000, old_cache(), other_version(), b'ZEOcach', b'PK\3\4' + TEXT],
)
def test_a_file_that_is_not_a_cache_of_this_version_is_renamed(tmp_path, caplog, content):
    path = tmp_path / 'x.zec'
    path.write_bytes(content)
    works(ClientCache(str(path), SIZE))
    assert (tmp_path / 'x.zec.bad').read_bytes() == content
    assert [record.levelname for record in caplog.records] == ['WARNING']
    assert 'renamed to x.zec.bad' in caplog.text


def test_every_file_that_was_renamed_stays(tmp_path):
    for name in 'x.zec.bad', 'x.zec.bad.1', 'x.zec.bad.2':
        (tmp_path / 'x.zec').write_text(f'this is {name}')
        works(ClientCache(str(tmp_path / 'x.zec'), SIZE))
        assert (tmp_path / name).read_text() == f'this is {name}'


def test_a_cache_is_used_again_and_not_renamed(tmp_path):
    path = str(tmp_path / 'x.zec')
    works(ClientCache(path, SIZE))
    cache = ClientCache(path, 2 * SIZE)
    assert cache.load(p64(1)) == (b'data', p64(1))
    cache.close()
    assert sorted(os.listdir(tmp_path)) == ['x.zec', 'x.zec.lock']


@pytest.mark.parametrize('length', [10, 100, format.RING_START])
def test_a_cache_whose_making_was_cut_short_starts_empty_and_is_not_renamed(tmp_path, length):
    path = tmp_path / 'x.zec'
    works(ClientCache(str(path), SIZE))
    path.write_bytes(path.read_bytes()[:length])
    works(ClientCache(str(path), SIZE))
    assert sorted(os.listdir(tmp_path)) == ['x.zec', 'x.zec.lock']


def test_a_cache_that_is_killed_while_it_is_made_is_known_as_a_cache(tmp_path, monkeypatch):
    path = tmp_path / 'x.zec'
    seen = []
    real = os.ftruncate

    def ftruncate(fd, size):
        if path.exists():  # the lock file comes first
            seen.append((size, path.read_bytes()[:10]))
        real(fd, size)

    monkeypatch.setattr(os, 'ftruncate', ftruncate)
    works(ClientCache(str(path), SIZE))
    assert (0, b'') in seen
    assert all(format.is_this_format(start) for size, start in seen if size)


def test_a_database_is_refused(tmp_path):
    path = tmp_path / 'Data.fs'
    path.write_bytes(b'FS21' + b'x' * 100)
    with pytest.raises(ClientStorageError, match='Data.fs is a FileStorage'):
        ClientCache(str(path), SIZE)
    assert path.read_bytes() == b'FS21' + b'x' * 100
    assert not (tmp_path / 'Data.fs.bad').exists()


@pytest.mark.timeout(10)
@pytest.mark.parametrize(('make', 'what'), [(os.mkdir, 'a directory'), (os.mkfifo, 'a FIFO')])
def test_what_is_not_a_file_is_an_error_at_once(tmp_path, make, what):
    path = str(tmp_path / 'x.zec')
    make(path)
    with pytest.raises(ClientStorageError, match=f'x.zec: not a regular file but {what}'):
        ClientCache(path, SIZE)
    ClientCache(str(tmp_path / 'other.zec'), SIZE).close()


@pytest.mark.skipif(not os.geteuid(), reason='root may read everything')
def test_a_file_that_may_not_be_read_is_an_error(tmp_path):
    path = tmp_path / 'x.zec'
    path.write_bytes(TEXT)
    path.chmod(0)
    with pytest.raises(ClientStorageError, match='x.zec: Permission denied'):
        ClientCache(str(path), SIZE)


def test_a_client_storage_keeps_the_file_that_cache_names_by_mistake(tmp_path):
    path = tmp_path / 'letter.txt'
    path.write_bytes(TEXT)
    ClientStorage(str(tmp_path / 'nothing-there'), cache=str(path), wait=False).close()
    assert (tmp_path / 'letter.txt.bad').read_bytes() == TEXT


# --- links and modes ---


def test_a_link_of_this_user_leads_to_a_cache_on_another_disk(tmp_path):
    (tmp_path / 'disk').mkdir()
    link = tmp_path / 'x.zec'
    link.symlink_to('disk/cache')
    works(ClientCache(str(link), SIZE))
    cache = ClientCache(str(link), 2 * SIZE)  # which is resized by renaming
    assert cache.load(p64(1)) == (b'data', p64(1))
    with pytest.raises(ClientStorageError, match='in use'):
        ClientCache(str(tmp_path / 'disk' / 'cache'), SIZE)
    cache.close()
    assert link.is_symlink()
    assert sorted(os.listdir(tmp_path / 'disk')) == ['cache', 'cache.lock']


def test_what_a_link_leads_to_is_not_touched_unless_it_is_a_cache(tmp_path):
    victim = tmp_path / 'victim'
    victim.write_bytes(TEXT)
    (tmp_path / 'x.zec').symlink_to(victim)
    with pytest.raises(
        ClientStorageError, match='victim, to which a symbolic link leads, is not a cache file'
    ):
        ClientCache(str(tmp_path / 'x.zec'), SIZE)
    assert victim.read_bytes() == TEXT


def test_an_old_cache_to_which_a_link_leads_is_renamed_where_it_is(tmp_path):
    (tmp_path / 'disk').mkdir()
    (tmp_path / 'disk' / 'cache').write_bytes(old_cache())
    (tmp_path / 'x.zec').symlink_to('disk/cache')
    works(ClientCache(str(tmp_path / 'x.zec'), SIZE))
    assert (tmp_path / 'disk' / 'cache.bad').read_bytes() == old_cache()


@pytest.mark.skipif(os.geteuid(), reason='only root can make links of another user')
def test_a_link_that_another_user_has_made_is_refused(tmp_path):
    (tmp_path / 'x.zec').symlink_to('elsewhere')
    os.lchown(tmp_path / 'x.zec', 54321, 54321)
    with pytest.raises(ClientStorageError, match='x.zec: a symbolic link that user 54321 made'):
        ClientCache(str(tmp_path / 'x.zec'), SIZE)
    assert not (tmp_path / 'elsewhere').exists()


@pytest.mark.parametrize('suffix', ['.lock', '.trace', '.resized'])
def test_files_beside_a_cache_are_never_links(tmp_path, monkeypatch, caplog, suffix):
    monkeypatch.setenv('ZEO_CACHE_TRACE', '1')
    victim = tmp_path / 'victim'
    victim.write_bytes(TEXT)
    path = str(tmp_path / 'x.zec')
    if suffix == '.resized':
        works(ClientCache(path, SIZE // 2))
    os.symlink(victim, path + suffix)
    if suffix == '.lock':
        with pytest.raises(ClientStorageError, match='a symbolic link'):
            ClientCache(path, SIZE)
    else:
        works(ClientCache(path, SIZE))
        assert 'symbolic link' in caplog.text
    assert victim.read_bytes() == TEXT


@pytest.mark.parametrize('suffix', ['.lock', '.trace', '.resized'])
def test_files_of_the_same_name_that_are_something_else_stay(tmp_path, monkeypatch, suffix):
    monkeypatch.setenv('ZEO_CACHE_TRACE', '1')
    path = str(tmp_path / 'x.zec')
    if suffix == '.resized':
        works(ClientCache(path, SIZE // 2))
    (tmp_path / f'x.zec{suffix}').write_bytes(TEXT)
    if suffix == '.lock':
        with pytest.raises(ClientStorageError, match='x.zec.lock is not a lock file'):
            ClientCache(path, SIZE)
    else:
        works(ClientCache(path, SIZE))
    assert (tmp_path / f'x.zec{suffix}').read_bytes() == TEXT


def test_all_files_of_a_cache_are_for_its_owner_only(tmp_path, monkeypatch):
    monkeypatch.setenv('ZEO_CACHE_TRACE', '1')
    before = os.umask(0)
    try:
        works(ClientCache(str(tmp_path / 'x.zec'), SIZE))
    finally:
        os.umask(before)
    assert sorted(os.listdir(tmp_path)) == ['x.zec', 'x.zec.lock', 'x.zec.trace']
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}


def test_a_trace_goes_on_where_it_ended(tmp_path, monkeypatch):
    monkeypatch.setenv('ZEO_CACHE_TRACE', '1')
    for _ in range(2):
        works(ClientCache(str(tmp_path / 'x.zec'), SIZE))
    events = [event.what for event in trace.read(str(tmp_path / 'x.zec.trace'))]
    assert events.count(trace.OPEN) == 2


def test_a_lock_file_of_which_a_power_failure_has_kept_the_length_only_is_taken_over(tmp_path):
    (tmp_path / 'x.zec.lock').write_bytes(bytes(6))
    works(ClientCache(str(tmp_path / 'x.zec'), SIZE))
