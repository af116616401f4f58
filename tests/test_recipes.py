"""The recipes for frameworks run as they stand, where the frameworks are installed."""

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import ZEO
from support.sides import SOURCES

PAGE = (Path(__file__).parent.parent / 'docs' / 'start' / 'frameworks.rst').read_text(
    encoding='utf-8'
)

#: What drives each application: two visits, and what has been counted.
DRIVERS = {
    'flask': """
        from flask_app import app, database
        client = app.test_client()
        print(client.post('/hits').json, client.post('/hits').json, client.get('/hits').json)
        database.close()
    """,
    'fastapi': """
        from fastapi.testclient import TestClient
        from fastapi_app import app
        with TestClient(app) as client:
            first, second = client.post('/hits'), client.post('/hits')
            print(first.json(), second.json(), client.get('/hits').json())
    """,
    'django': """
        import django_app
        import django
        django.setup()
        from django.test import Client
        client = Client()
        first, second = client.post('/hits'), client.post('/hits')
        print(first.json(), second.json(), client.get('/hits').json())
        assert client.post('/nothing').status_code == 404
        django_app.database.close()
    """,
}  # fmt: skip


@pytest.mark.parametrize('framework', DRIVERS)
def test_a_recipe(framework, tmp_path):
    pytest.importorskip(framework)
    if framework == 'fastapi':
        pytest.importorskip('httpx')
    found = re.search(rf':caption: {framework}_app.py\n\n((?:   .*\n|\n)+)', PAGE)
    (tmp_path / f'{framework}_app.py').write_text(textwrap.dedent(found[1]))
    (tmp_path / 'driver.py').write_text(textwrap.dedent(DRIVERS[framework]))
    with ZEO.server() as (host, port):
        done = subprocess.run(
            [sys.executable, 'driver.py'],
            cwd=tmp_path,
            env={**os.environ, 'PYTHONPATH': str(SOURCES), 'ZEO_ADDRESS': f'{host}:{port}'},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (done.stdout, done.returncode) == (
            "{'hits': 1} {'hits': 2} {'hits': 2}\n",
            0,
        ), done.stderr
        with ZEO.connection((host, port)) as connection:
            assert connection.root()['hits'] == 2
