"""The story of an operator, from the wheel to a server at another place, with real processes.

tests/frameworks has it with Zope in the place of the two programs.
"""

from __future__ import annotations

import re
import signal

import pytest

from support.environments import build_wheel
from support.operators import Operator, install
from support.processes import free_ports

#: A program of a user: commits a number and a blob again and again, and says each one that it has.
PROGRAM = """\
import sys, time
import transaction, ZODB.blob, ZODB.POSException, ZEO

name, *ports = sys.argv[1:]
addresses = [('127.0.0.1', int(port)) for port in ports]
options = dict(client=name, blob_dir=f'blobs-of-{name}', wait_timeout=30)
with ZEO.DB(addresses, **options) as db, db.open() as connection:
    root = connection.root()
    while True:
        transaction.begin()
        number = root.get(name, 0) + 1
        root[name] = number
        root[f'blob of {name}'] = ZODB.blob.Blob(b'%d' % number)
        try:
            transaction.commit()
        except ZODB.POSException.ConflictError:
            transaction.abort()
            continue
        except ZODB.POSException.StorageError as error:
            transaction.abort()
            print('not', number, type(error).__name__, flush=True)
        else:
            print('committed', number, flush=True)
        time.sleep(0.05)
"""

READ = """\
import sys, ZEO
with ZEO.connection(('127.0.0.1', int(sys.argv[1])), blob_dir='blobs-of-reader') as connection:
    root = connection.root()
    for name in 'one', 'two':
        with root[f'blob of {name}'].open() as file:
            print(name, root[name], file.read().decode())
"""


@pytest.fixture
def operator(tmp_path):
    programs = install(build_wheel(tmp_path), tmp_path / 'installed')
    work = tmp_path / 'work'
    work.mkdir()
    with Operator(programs, work) as operator:
        yield operator


def committed(program):
    """Return the number of the last transaction that a program has committed so far."""
    return int(([0] + re.findall(r'^committed (\d+)$', program.output.seen, re.M))[-1])


def goes_on(program):
    """Wait until a program has committed something more."""
    last = committed(program)
    program.wait_until(lambda: committed(program) > last)


@pytest.mark.timeout(150)
def test_install_serve_back_up_stop_restore_verify_and_serve_elsewhere(operator):
    old, new = free_ports(2)
    server = operator.serve('here', old)
    (operator.directory / 'program.py').write_text(PROGRAM)
    programs = []
    for name in 'one', 'two':
        programs.append(operator.start('python', 'program.py', name, old, new))
        goes_on(programs[-1])  # the first one makes the root object of the database
    assert re.search(
        r'storage 1: 2 clients, .* [1-9]\d* commits/s',
        operator.zeo('top', old, '-n2', '--every=.5'),
    )
    operator.back_up_and_stop(server, 'here', old)
    operator.restore('elsewhere')
    server = operator.serve('elsewhere', new)
    for program in programs:
        goes_on(program)
        assert program.stop(signal.SIGKILL) == -signal.SIGKILL
    (operator.directory / 'read.py').write_text(READ)
    _, said, errors = operator.start('python', 'read.py', new).end()
    assert not errors, errors
    for name, program in zip(('one', 'two'), programs, strict=True):
        number, blob = re.search(rf'^{name} (\d+) (\d+)$', said, re.M).groups()
        # what was answered is there; a kill may have come before the answer
        assert committed(program) <= int(number) <= committed(program) + 1 and number == blob
        assert 'Traceback' not in program.errors.seen, program.errors.seen
    assert server.end(signal.SIGTERM)[0] == 0
