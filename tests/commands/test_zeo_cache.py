"""zeo-cache: what it says, and its exit status."""

import pytest
from ZODB.utils import p64

from ZEO.cache import ClientCache
from ZEO.commands.zeo_cache import main


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.setenv('ZEO_CACHE_TRACE', '1')
    path = str(tmp_path / 'x-1.zec')
    cache = ClientCache(path, 100_000, identity='here')
    for i in range(20):
        if cache.load(p64(i % 15)) is None:
            cache.store(p64(i % 15), p64(1), None, b'x' * 500)
    cache.invalidate(p64(1), p64(2))
    cache.setLastTid(p64(2))
    cache.close()
    return path


def test_check_finds_damage_and_changes_nothing(path, capsys):
    before = open(path, 'rb').read()
    assert main(['check', path]) == 0
    assert '15 records, all is well' in capsys.readouterr().out
    assert open(path, 'rb').read() == before
    with open(path, 'r+b') as file:
        file.seek(5000)
        file.write(b'zzz')
    assert main(['check', path]) == 1
    assert 'are damaged' in capsys.readouterr().out


def test_check_of_what_is_no_cache(tmp_path, capsys):
    other = tmp_path / 'other'
    other.write_bytes(b'x' * 9000)
    assert main(['check', str(other)]) == 1
    assert 'it is not a cache file' in capsys.readouterr().out
    assert main(['check', str(tmp_path / 'none')]) == 2
    assert 'No such file' in capsys.readouterr().err


@pytest.mark.parametrize(
    'args, words',
    [
        ([], 'the following arguments are required'),
        (['banana'], 'invalid choice'),
        (['stats'], 'required: file'),
        (['check', '/nope'], '/nope: No such file or directory'),
        (['stats', '/'], '/: Is a directory'),
        (['trace', '/nope'], '/nope: No such file or directory'),
        (['stats', __file__], 'is not a cache file'),
        (['trace', __file__], 'is not a cache trace'),
        (['simulate'], 'required: file'),
        (['simulate', 'x', '--sizes', 'x'], "'x' is not a size"),
        (['simulate', 'x', '--sizes', '0MB'], "'0MB' is not a size"),
        (['simulate', __file__], 'is not a cache trace'),
    ],
)
def test_what_is_wrong_is_said_in_one_line(args, words, capsys):
    assert main(args) == 2
    out, err = capsys.readouterr()
    assert out == '' and err.startswith('zeo-cache: ') and err.count('\n') == 1 and words in err


def test_nothing_is_left_beside_a_file_that_is_not_a_cache(tmp_path):
    (tmp_path / 'passwd').write_text('root:x:0:0:root:/root:/bin/bash\n')
    assert main(['stats', str(tmp_path / 'passwd')]) == 2
    assert [path.name for path in tmp_path.iterdir()] == ['passwd']


def test_a_file_in_use_is_refused(path, capsys):
    cache = ClientCache(path, 100_000)
    assert main(['check', path]) == 2
    assert 'in use by this or another process' in capsys.readouterr().err
    cache.close()


def test_stats_show_owner_revisions_and_hits(path, capsys):
    assert main(['stats', path]) == 0
    said = capsys.readouterr().out
    assert 'belongs to              here' in said
    assert 'current revisions       14' in said
    assert 'hits so far             5 of 20 loads (25.0 %)' in said


def test_a_trace_is_summed_up_or_printed(path, capsys):
    assert main(['trace', path + '.trace']) == 0
    assert 'hit rate             25.0%' in capsys.readouterr().out
    assert main(['trace', '--events', path + '.trace']) == 0
    assert f'store {p64(3).hex()} {p64(1).hex()} 500 bytes' in capsys.readouterr().out
    assert main(['trace', path]) == 2


def test_simulate_shows_the_hit_rate_of_other_sizes(path, capsys):
    assert main(['simulate', path + '.trace', '--sizes', '1KB', '1MB']) == 0
    assert capsys.readouterr().out.splitlines() == [
        'size        hit rate',
        '1KB             0.0%',
        '1MB            25.0%',
    ]
    assert main(['simulate', path + '.trace']) == 0
    assert len(capsys.readouterr().out.splitlines()) == 6
