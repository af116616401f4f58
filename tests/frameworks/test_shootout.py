"""zodbshootout on this ZEO and on ZEO 6, in the same way; pytest -s shows its own figures."""

from __future__ import annotations

import json

import pytest

from support.environments import CannotInstall, run

pytestmark = [pytest.mark.frameworks, pytest.mark.timeout(1200)]

CONF = """\
<zodb zeo>
  <zeoclient>
    server 127.0.0.1:{port}
    cache-size 100MB
  </zeoclient>
</zodb>
"""
SWITCHES = '--include-mapping no -c 2 --object-counts 100 -p 1 -n 3 -w 1 -l 1 -o result.json'
BENCHMARKS = ['add', 'update', 'cold', 'warm', 'new_oid', 'store', 'tpc']


@pytest.mark.parametrize('side', ['ours', 'peer'])
def test_all_benchmarks_run(environments, processes, port, tmp_path, side):
    try:
        python = environments.python('zodbshootout', side)
    except CannotInstall as error:
        pytest.skip(str(error))
    processes.serve(python, port)
    (tmp_path / 'shootout.conf').write_text(CONF.format(port=port))
    command = [python.parent / 'zodbshootout', *SWITCHES.split(), 'shootout.conf', *BENCHMARKS]
    print(run(command, cwd=tmp_path, timeout=240))
    result = json.loads((tmp_path / 'result.json').read_text())
    assert len(result['benchmarks']) >= len(BENCHMARKS)
