"""zeo copy between a file and a server, killed at operations of files and of the connection."""

from __future__ import annotations

import os
import shutil
import socket

import pytest

from support.commands import ServerCommand
from support.databases import build, content_of
from support.dying import deaths, die_at
from support.sides import OURS
from ZEO.commands import zeo

STEPS = [
    *((os, name) for name in ('open', 'write', 'fsync', 'replace', 'rename', 'unlink', 'close')),
    *((socket.socket, name) for name in ('send', 'sendmsg', 'recv', 'recv_into')),
]
some = pytest.mark.parametrize('every', [7, pytest.param(1, marks=pytest.mark.slow)])


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working directory with a database in it."""
    monkeypatch.chdir(tmp_path)
    build('a.fs', 'a.blobs')
    return tmp_path


@pytest.fixture
def serve(here):
    """A function that serves a file in a process of its own, which a forked client needs."""
    started = []

    def start(name):
        text = f'path {here}/{name}.fs\n blob-dir {here}/{name}.blobs'
        storage = f'<filestorage 1>\n {text}\n</filestorage>'
        started.append(ServerCommand(OURS, here / name, storage, tcp=True).start())
        host, port = started[-1].address
        return started[-1], f'{host}:{port}/1'

    yield start
    for one in started:
        one.close()


def same(name):
    return content_of('a.fs', 'a.blobs') == content_of(f'{name}.fs', f'{name}.blobs')


@some
def test_a_copy_to_a_server_that_is_killed_anywhere_goes_on(serve, every):
    server, where = serve('c')
    args = ['copy', 'a.fs', where, '--blobs', 'a.blobs', '-q', '--timeout', '20']
    assert len(list(deaths(STEPS, args, every))) >= 5
    assert zeo.main([*args, '--verify']) == 0
    assert server.stop() == 0
    assert same('c') and os.listdir('c.blobs/tmp') == []


@some
def test_a_copy_from_a_server_that_is_killed_anywhere_goes_on(serve, every):
    """Each time from the start: what a kill leaves must not look whole."""
    _, where = serve('a')
    args = ['copy', where, 'b.fs', '--to-blobs', 'b.blobs', '-q', '--timeout', '20']
    number = 0
    while die_at(STEPS, number, args):
        assert zeo.main([*args, '--verify']) == 0, number
        assert same('b') and os.listdir('b.blobs/tmp') == []
        for path in ('b.fs', 'b.fs.index', 'b.fs.lock', 'b.fs.tmp'):
            if os.path.exists(path):
                os.unlink(path)
        shutil.rmtree('b.blobs')
        number += every
    assert number > 100
