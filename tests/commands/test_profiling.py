"""Profiles are written over nothing but profiles."""

import os
import pstats

import pytest

from ZEO.commands.profiling import check_profile, profiled
from ZEO.Exceptions import ConfigurationError


def profile(path):
    check_profile(str(path))
    with profiled(str(path)):
        sorted([2, 1], key=str)


def test_a_profile_can_be_read_and_is_overwritten_by_the_next(tmp_path):
    path = tmp_path / 'stats'
    for _ in range(2):
        profile(path)
        assert any(
            name[2] == 'sorted' or 'sorted' in name[2] for name in pstats.Stats(str(path)).stats
        )


@pytest.mark.parametrize('content', [b'FS30 a database', b'{"a": 1}', b'x'])
def test_a_file_that_is_not_a_profile_is_never_overwritten(tmp_path, content):
    path = tmp_path / 'Data.fs'
    path.write_bytes(content)
    words = f'cannot write the profile to {path}: the file exists and is not a profile'
    with pytest.raises(ConfigurationError, match=words):
        check_profile(str(path))
    with pytest.raises(ConfigurationError, match=words), profiled(str(path)):
        pass
    assert path.read_bytes() == content


def test_an_empty_file_becomes_a_profile_also_behind_a_link(tmp_path):
    (tmp_path / 'other').touch()
    (tmp_path / 'stats').symlink_to('other')
    profile(tmp_path / 'stats')
    assert pstats.Stats(str(tmp_path / 'other')).stats and (tmp_path / 'stats').is_symlink()


def test_a_profile_in_a_missing_directory_is_one_line(tmp_path):
    path = tmp_path / 'missing' / 'stats'
    with pytest.raises(ConfigurationError, match=f'there is no directory {path.parent}: create'):
        check_profile(str(path))
    with pytest.raises(ConfigurationError, match='No such file or directory'), profiled(str(path)):
        pass


@pytest.mark.skipif(os.geteuid() == 0, reason='root may write everywhere')
def test_a_profile_in_a_directory_without_the_right_to_write_is_refused_at_the_start(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(ConfigurationError, match='this user may not make files in'):
        check_profile(str(tmp_path / 'stats'))


def test_without_a_path_there_is_no_profile():
    check_profile(None)
    with profiled(None):
        pass
