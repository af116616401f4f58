"""Temporary directories: those of processes that are gone are removed, and nothing else."""

import os
import signal

from ZEO.leftovers import make_directory, prefix


def killed_with_a_directory(parent):
    """Have a process make a directory with something in it, and be killed."""
    pid = os.fork()
    if not pid:
        with open(os.path.join(make_directory('zeo-blobs', parent), 'blob'), 'w') as file:
            file.write('content')
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)


def test_what_a_killed_process_has_left_is_removed_by_the_next(tmp_path):
    killed_with_a_directory(tmp_path)
    (left,) = tmp_path.iterdir()
    assert (left / 'blob').exists()
    mine = make_directory('zeo-blobs', str(tmp_path))
    assert [str(path) for path in tmp_path.iterdir()] == [mine]
    another = make_directory('zeo-blobs', str(tmp_path))
    assert {str(path) for path in tmp_path.iterdir()} == {mine, another}


def test_what_is_not_known_to_be_left_stays(tmp_path):
    killed_with_a_directory(tmp_path)
    (left,) = tmp_path.iterdir()
    kind, _, rest = left.name.partition('-blobs-')
    names = [
        f'{kind}-other-{rest}',  # of another kind
        f'zeo-blobs-00000000-{rest.partition("-")[2]}',  # of another machine
        'zeo-blobs-abcdefgh',
        f'{left.name}-more',
    ]
    for name in names:
        (tmp_path / name).mkdir()
    outside = tmp_path / 'outside'
    outside.mkdir()
    (outside / 'kept').touch()
    (tmp_path / f'{left.name[:-8]}abcdefgh').symlink_to(outside)
    (tmp_path / f'{left.name[:-8]}ABCDEFGH').write_text('a file')
    make_directory('zeo-blobs', str(tmp_path))
    assert not left.exists() and (outside / 'kept').exists()
    assert all((tmp_path / name).is_dir() for name in names)
    assert (tmp_path / f'{left.name[:-8]}ABCDEFGH').exists()


def test_a_number_that_another_process_has_now_says_nothing(tmp_path):
    began = prefix('zeo-blobs').rsplit('-', 2)[1]
    earlier = tmp_path / f'{prefix("zeo-blobs").replace(f"-{began}-", "-1-")}abcdefgh'
    earlier.mkdir()
    make_directory('zeo-blobs', str(tmp_path))
    assert not earlier.exists()
