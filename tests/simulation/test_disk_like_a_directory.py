"""A simulated disk without faults does what a real directory does."""

import errno
import os
import shutil
import tempfile

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from support.simulation.disk import Disk
from support.simulation.disk_os import modules_on

NAMES = st.sampled_from(['a', 'b', 'd', 'd/a', 'd/b', 'd/e'])
SIZES = st.integers(0, 20_000)
FLAGS = st.sampled_from(
    [
        os.O_RDONLY,
        os.O_RDWR,
        os.O_RDWR | os.O_CREAT,
        os.O_WRONLY | os.O_CREAT | os.O_TRUNC,
        os.O_RDWR | os.O_CREAT | os.O_EXCL,
        os.O_WRONLY | os.O_CREAT | os.O_APPEND,
    ]
)
#: Where several errors are right, systems differ in which one they raise.
ALIKE = {errno.EPERM: errno.EISDIR, errno.EEXIST: errno.ENOTEMPTY}


class TwoDisks(RuleBasedStateMachine):
    """Each step is done on a real directory and on a simulated disk."""

    def __init__(self):
        super().__init__()
        self.directory = tempfile.mkdtemp()
        self.disk = Disk()
        self.system = modules_on(self.disk).os
        self.files = []  # pairs of descriptors

    def both(self, call):
        """Do something on both, and return both results."""
        answers = []
        for system, top in ((os, self.directory), (self.system, '/data')):
            try:
                answers.append(call(system, lambda name, top=top: f'{top}/{name}'))
            except OSError as problem:
                answers.append(('fails', ALIKE.get(problem.errno, problem.errno)))
        return answers

    def same(self, call):
        """Do something that has one result."""
        real, simulated = self.both(call)
        assert real == simulated

    def of_file(self, number, call):
        """Do something with one of the open files."""
        if self.files:
            pair = self.files[number % len(self.files)]
            self.same(lambda system, path: call(system, pair[system is not os]))

    @rule(name=NAMES, flags=FLAGS)
    def open(self, name, flags):
        pair = self.both(lambda system, path: system.open(path(name), flags))
        if not all(isinstance(one, int) for one in pair):
            assert pair[0] == pair[1]
        elif os.path.isdir(f'{self.directory}/{name}'):  # nothing is read from directories
            os.close(pair[0])
            self.system.close(pair[1])
        else:
            self.files.append(pair)

    @rule(number=st.integers(0, 9))
    def close(self, number):
        if self.files:
            real, simulated = self.files.pop(number % len(self.files))
            os.close(real)
            self.system.close(simulated)

    @rule(number=st.integers(0, 9), data=st.binary(max_size=40), times=SIZES, offset=SIZES)
    def pwrite(self, number, data, times, offset):
        data *= times // 40
        self.of_file(number, lambda system, fd: system.pwrite(fd, data, offset))

    @rule(number=st.integers(0, 9), data=st.binary(max_size=40))
    def write(self, number, data):
        self.of_file(number, lambda system, fd: system.write(fd, data))

    @rule(number=st.integers(0, 9), offset=SIZES, whence=st.sampled_from([0, 1, 2]))
    def seek(self, number, offset, whence):
        self.of_file(number, lambda system, fd: system.lseek(fd, offset, whence))

    @rule(number=st.integers(0, 9), length=SIZES)
    def read(self, number, length):
        self.of_file(number, lambda system, fd: system.read(fd, length))

    @rule(number=st.integers(0, 9), size=SIZES)
    def truncate(self, number, size):
        self.of_file(number, lambda system, fd: system.ftruncate(fd, size))

    @rule(number=st.integers(0, 9))
    def fsync(self, number):
        self.of_file(number, lambda system, fd: system.fsync(fd))

    @rule(name=NAMES)
    def unlink(self, name):
        self.same(lambda system, path: system.unlink(path(name)))

    @rule(old=NAMES, new=NAMES)
    def rename(self, old, new):
        if not new.startswith(f'{old}/') and not old.startswith(f'{new}/'):
            self.same(lambda system, path: system.rename(path(old), path(new)))

    @rule(old=NAMES, new=NAMES)
    def link(self, old, new):
        self.same(lambda system, path: system.link(path(old), path(new)))

    @rule(name=NAMES)
    def mkdir(self, name):
        self.same(lambda system, path: system.mkdir(path(name)))

    @rule(name=NAMES)
    def rmdir(self, name):
        self.same(lambda system, path: system.rmdir(path(name)))

    @rule(name=NAMES)
    def look(self, name):
        for kind in ('exists', 'isfile', 'isdir', 'lexists', 'islink'):
            self.same(lambda system, path, kind=kind: getattr(system.path, kind)(path(name)))

    @invariant()
    def both_hold_the_same(self):
        self.same(lambda system, path: _tree(system, path('')))

    def teardown(self):
        for real, _ in self.files:
            os.close(real)
        shutil.rmtree(self.directory)


def _tree(system, top):
    found = {}
    for folder, directories, files in system.walk(top):
        found[folder[len(top) :]] = sorted(directories), sorted(files)
        for name in files:
            fd = system.open(os.path.join(folder, name), os.O_RDONLY)
            found[folder[len(top) :], name] = system.pread(fd, 10**6, 0)
            system.close(fd)
    return found


TestTwoDisks = TwoDisks.TestCase
TestTwoDisks.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
