"""Programs that gevent has patched: clients work, with greenlets for threads, and with sockets of
gevent's alone.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ZODB.MappingStorage import MappingStorage

from support.processes import Process
from support.scripted import tid

pytest.importorskip('gevent')

both = pytest.mark.parametrize('patched', ['threads', 'sockets'])


def run(patched, address, what):
    """Run a program of its own; return its last line."""
    environment = {**os.environ, 'PYTHONPATH': str(Path(__file__).parent.parent)}
    done = subprocess.run(
        [sys.executable, '-m', 'support.green', patched, json.dumps(address), what],
        env=environment,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


@both
@pytest.mark.parametrize('address', [None, ('127.0.0.1', 0)], ids=['unix', 'tcp'])
def test_ten_greenlets_commit(serving, patched, address):
    server = serving(MappingStorage(), address)
    assert run(patched, server.addr, 'commit') == '100'


@both
def test_a_silent_server_is_given_up(scripted, patched):
    server = scripted()
    command = [sys.executable, '-m', 'support.green', patched, json.dumps(server.address), 'wait']
    path = str(Path(__file__).parent.parent)
    with Process(command, env={**os.environ, 'PYTHONPATH': path}) as program:
        talk = server.client()
        talk.register(tid(1))
        talk.expect('getTid')
        assert 'has sent nothing for' in program.end()[1]
