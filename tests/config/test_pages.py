"""The pages on configuration, commands and TLS: what they show is what there is."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import textwrap
from io import StringIO
from pathlib import Path

import pytest
import ZConfig
from ZODB.config import getDbSchema

import ZEO
from ZEO.commands import zeo
from ZEO.config.loading import load
from ZEO.config.server import settings
from ZEO.net.tls import TlsCodec, client_context, server_context
from ZEO.net.tls_errors import TlsError

TOP = Path(__file__).parent.parent.parent
DOCS = TOP / 'docs'
SOURCES = str(Path(ZEO.__file__).parent.parent)
BLOCK = re.compile(
    r'^\.\. code-block:: \w+\n   :caption: (?P<name>\S+)\n\n'
    r'(?P<body>(?:   .*\n|\n)+)',
    re.M,
)


def generator():
    """Return the script that writes the generated parts, as a module."""
    location = importlib.util.spec_from_file_location(
        'docs_from_code', TOP / 'scripts' / 'docs_from_code.py'
    )
    module = importlib.util.module_from_spec(location)
    location.loader.exec_module(module)
    return module


def blocks(kind):
    """Return (name, text) of the blocks of the pages that are files of a kind."""
    found = []
    for page in 'configuration', 'commands', 'tls', 'blobs', 'migrating':
        for match in BLOCK.finditer((DOCS / 'operating' / f'{page}.rst').read_text()):
            if match['name'].endswith(kind):
                found.append((match['name'], textwrap.dedent(match['body'])))
    return found


def test_the_reference_is_what_the_schemas_say():
    script = generator()
    for page in script.PAGES:
        for match in script.PART.finditer((DOCS / page).read_text()):
            if match['kind'] != 'help':
                made = script.MAKERS[match['kind']](match['name'])
                assert made.rstrip() in match[0], 'run scripts/docs_from_code.py'


@pytest.mark.skipif(sys.version_info >= (3, 13), reason='argparse writes help in another form')
@pytest.mark.parametrize(
    'command',
    sorted(
        set(
            re.findall(
                r'^\.\. generated: help (\S+)',
                (DOCS / 'operating' / 'commands.rst').read_text(),
                re.M,
            )
        )
    ),
)
def test_the_help_is_what_the_commands_print(command, monkeypatch):
    monkeypatch.setenv('PYTHONPATH', SOURCES)
    assert generator().help_of(command) in (DOCS / 'operating' / 'commands.rst').read_text(), (
        'run scripts/docs_from_code.py'
    )


def test_every_section_and_command_has_its_place():
    named = set(
        re.findall(
            r'^\.\. generated: section (\S+)',
            (DOCS / 'operating' / 'configuration.rst').read_text(),
            re.M,
        )
    )
    assert named == {'zeo', 'access', 'ssl', 'clientstorage', 'grouped-filestorage', 'replica'}
    setup = (TOP / 'setup.py').read_text()
    commands = (DOCS / 'operating' / 'commands.rst').read_text()
    for command in re.findall(r"[\"'](\S+) = ZEO\.", setup):
        assert f'\n{command}\n{"=" * len(command)}\n' in commands


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A directory with what the pages assume to be on a machine; moves paths into it."""
    import grp
    import pwd

    import trustme

    monkeypatch.setattr(grp, 'getgrnam', lambda name: grp.getgrgid(os.getgid()))
    monkeypatch.setattr(pwd, 'getpwnam', lambda name: pwd.getpwuid(os.getuid()))

    for name in 'var', 'etc':
        (tmp_path / name / 'zeo').mkdir(parents=True)
    issued = trustme.CA().issue_cert('localhost')
    for name in 'ca', 'server', 'client':
        issued.cert_chain_pems[0].write_to_path(str(tmp_path / 'etc' / 'zeo' / f'{name}.pem'))
        issued.private_key_pem.write_to_path(str(tmp_path / 'etc' / 'zeo' / f'{name}.key'))
    return lambda text: re.sub(r' /(var|etc)/zeo', rf' {tmp_path}/\1/zeo', text)


@pytest.mark.parametrize('name, text', blocks('.conf'))
def test_every_configuration_of_the_pages_is_valid(name, text, machine, tmp_path):
    text = machine(text)
    if '<zodb>' in text:
        ZConfig.loadConfigFile(getDbSchema(), StringIO(text))
    else:
        (tmp_path / name).write_text(text)
        settings(load(str(tmp_path / name))).check()


@pytest.mark.parametrize('name, text', blocks('.py'))
def test_every_program_of_the_pages_runs(name, text, tmp_path):
    (tmp_path / name).write_text(text)
    result = subprocess.run(
        [sys.executable, name],
        cwd=tmp_path,
        timeout=50,
        capture_output=True,
        env={**os.environ, 'PYTHONPATH': SOURCES},
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, b'', b'')


def test_there_are_examples():
    assert len(blocks('.conf')) >= 7 and blocks('.py')


def has_openssl_3():
    program = shutil.which('openssl')
    said = program and subprocess.run([program, 'version'], capture_output=True, text=True).stdout
    return bool(said) and said.startswith('OpenSSL 3')


@pytest.mark.skipif(not has_openssl_3(), reason='needs the command openssl of OpenSSL 3')
def test_certificates_as_the_page_makes_them(tmp_path):
    page = (DOCS / 'operating' / 'tls.rst').read_text()
    commands = ''.join(re.findall(r'^\.\. code-block:: console\n\n((?:   .*\n|\n)+)', page, re.M))
    commands = re.sub(r'^   \$ zeo .*\n', '', commands, flags=re.M)
    script = re.sub(r'^   \$ ', '', commands, flags=re.M).replace('rsa:3072', 'rsa:2048')
    subprocess.run(
        ['sh', '-e', '-c', script], cwd=tmp_path, capture_output=True, check=True, timeout=50
    )
    files = {name: str(tmp_path / name) for name in os.listdir(tmp_path)}
    server, client = greeted(files, None)
    assert client.handshaken and server.handshaken
    with pytest.raises(TlsError, match='the certificate of the client has been revoked'):
        greeted(files, files['crl.pem'])


def test_certificates_by_zeo_certs_as_the_page_makes_them(tmp_path, monkeypatch, capsys):
    page = (DOCS / 'operating' / 'tls.rst').read_text()
    monkeypatch.chdir(tmp_path)
    for command in re.findall(r'^   \$ zeo (.*)', page, re.M):
        assert zeo.main(command.split()) == 0
    listed = capsys.readouterr().out.splitlines()[-5:]
    assert [line.split()[1] for line in listed[1:]] == [
        'db.example.org,',
        'report',
        'zope1',
        'zope2',
    ]
    files = {name: str(tmp_path / 'certs' / name) for name in os.listdir('certs')}
    files |= {
        f'{part}.{end}': files[f'{name}.{end}']
        for part, name in [('server', 'db.example.org'), ('client', 'zope1')]
        for end in ('pem', 'key')
    }
    server, client = greeted(files, files['crl.pem'])
    assert client.handshaken and server.handshaken


def greeted(files, crl):
    """Return both ends of a connection after the handshake."""
    server = TlsCodec(
        server_context(
            files['server.pem'], files['server.key'], authenticate=files['ca.pem'], crl=crl
        ),
        True,
    )
    client = TlsCodec(
        client_context(files['client.pem'], files['client.key'], authenticate=files['ca.pem']),
        False,
        'db.example.org',
    )
    for _ in range(3):
        for one, other in (client, server), (server, client):
            data = one.take()
            if data:
                other.receive(data)
    return server, client
