"""The server behind a server goes away while that one starts: it ends with one line, and may be
started again.
"""

import re

import pytest

from support.children import SideProcess
from support.scripted import INFO, ScriptedServer, tid
from support.sides import OURS

pytestmark = pytest.mark.smoke


@pytest.mark.parametrize('last', ['register', 'get_info', 'iterator_start'])
def test_a_server_whose_upstream_goes_away_while_it_starts_ends_with_one_line(
    tmp_path, sockets, last
):
    upstream = ScriptedServer(sockets())
    conf = tmp_path / 'zeo.conf'
    conf.write_text(
        f'<zeo>\n address {sockets()}\n</zeo>\n'
        f'<clientstorage 1>\n server {upstream.address}\n wait-timeout 1\n</clientstorage>\n'
    )
    process = SideProcess(OURS, ['python', '-m', 'ZEO.runzeo', '-C', str(conf)])
    try:
        talk = upstream.client()
        info = {**INFO, 'interfaces': (('ZODB.interfaces', 'IStorageIteration'),)}
        for name, result in (
            ('register', tid(2**60)),
            ('get_info', info),
            ('iterator_start', None),
        ):
            request = talk.expect(name)
            if name == last:
                break
            talk.send(request.reply(result))
        upstream.close()
        assert process.end()[0] == 1
        said = process.errors.seen
        assert 'Traceback' not in said
        assert (
            len(re.findall('^runzeo: .*(?:closed|refused|no connection).*$', said, re.MULTILINE))
            == 1
        )
    finally:
        process.close(0)
