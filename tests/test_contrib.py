"""The files for systemd and for containers say what the programs understand."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from support.processes import PATIENCE, Process, free_port
from support.sides import SOURCES
from ZEO.ClientStorage import ClientStorage
from ZEO.commands.runzeo_switches import parser

CONTRIB = Path(__file__).parent.parent / 'contrib'
DOCKERFILE = (CONTRIB / 'docker' / 'Dockerfile').read_text(encoding='utf-8')
SERVICE = (CONTRIB / 'systemd' / 'zeo@.service').read_text(encoding='utf-8')


def environment():
    """Return the variables that the image sets."""
    block = re.search(r'^ENV ((?:.*\\\n)*.*)$', DOCKERFILE, re.M)[1]
    return dict(re.findall(r'(\w+)=(\S+)', block))


def instruction(name):
    """Return what an instruction of the image says."""
    return re.search(rf'^{name} (?:.*\\\n)?\s*(.*)$', DOCKERFILE, re.M)[1]


@pytest.fixture
def image(tmp_path):
    """An environment as in the image, with its paths in a directory of the test."""
    (tmp_path / 'bin').mkdir()
    program = tmp_path / 'bin' / 'zeo'
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m ZEO "$@"\n')
    program.chmod(0o755)
    for path in 'filestorage', 'blobstorage':
        (tmp_path / 'data' / path).mkdir(parents=True)
    conf = (CONTRIB / 'docker' / 'zeo.conf').read_text(encoding='utf-8')
    conf = conf.replace('/data/', f'{tmp_path}/data/').replace('0.0.0.0', '127.0.0.1')
    (tmp_path / 'zeo.conf').write_text(conf)
    return {
        **environment(),
        'PATH': f'{tmp_path}/bin:{os.environ["PATH"]}',
        'PYTHONPATH': str(SOURCES),
        'ZEO_PORT': str(free_port()),
        'HOME': str(tmp_path),
    }


def test_the_image_serves_is_healthy_and_stops(image, tmp_path):
    command = [word.replace('/app/etc', str(tmp_path)) for word in json.loads(instruction('CMD'))]
    health = instruction('HEALTHCHECK').partition('CMD ')[2]

    def is_healthy():
        return subprocess.run(['sh', '-c', health], env=image, timeout=PATIENCE).returncode

    assert is_healthy() != 0
    with Process(command, env=image, cwd=tmp_path) as server:
        server.output.wait_for('serving storage 1')
        assert is_healthy() == 0
        with_blobs = ClientStorage(
            ('127.0.0.1', int(image['ZEO_PORT'])), blob_dir=str(tmp_path / 'blobs')
        )
        with_blobs.close()
        assert server.end(signal.SIGTERM)[0] == 0
    assert (tmp_path / 'data' / 'filestorage' / 'Data.fs').exists()


def test_the_image_runs_as_a_user_without_rights():
    assert instruction('USER') == 'zeo' and instruction('STOPSIGNAL') == 'SIGTERM'


def test_the_compose_file_names_files_that_exist():
    yaml = pytest.importorskip('yaml')
    compose = yaml.safe_load((CONTRIB / 'docker' / 'compose.yaml').read_text(encoding='utf-8'))
    build = compose['services']['zeo']['build']
    top = (CONTRIB / 'docker' / build['context']).resolve()
    assert (top / build['dockerfile']).exists() and (top / 'setup.py').exists()
    assert set(compose['volumes']) == {'data'} and set(compose['networks']) == {'backend'}


def test_the_service_starts_what_there_is():
    command = re.search(r'^ExecStart=(.*)$', SERVICE, re.M)[1].split()
    assert command[0].endswith('/runzeo')
    assert parser().parse_args(command[1:]).configure == '/etc/zeo/%i.conf'


def test_systemd_understands_the_units(tmp_path):
    systemd = shutil.which('systemd-analyze')
    if systemd is None:
        pytest.skip('systemd is not installed here')
    for path in (CONTRIB / 'systemd').iterdir():
        text = path.read_text(encoding='utf-8').replace('/opt/zeo/bin/runzeo', '/bin/true')
        text = re.sub('^(User|Group|SocketUser|SocketGroup)=zeo', r'\1=root', text, flags=re.M)
        (tmp_path / path.name.replace('@', '@main')).write_text(text)
    done = subprocess.run(
        [systemd, 'verify', *tmp_path.iterdir()], capture_output=True, text=True, timeout=PATIENCE
    )
    assert (done.returncode, done.stderr) == (0, '')
