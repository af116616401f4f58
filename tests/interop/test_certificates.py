"""The certificates of zeo certs between a server of ours and a client of ZEO 6, and the reverse."""

import subprocess

import pytest

from support.certs import Certs
from support.commands import ServerCommand
from support.sides import OURS, PEER

CLIENT = """
import ssl, sys, ZEO, transaction
port, where = int(sys.argv[1]), sys.argv[2]
context = ssl.create_default_context(cafile=where + '/ca.pem')
context.verify_flags |= ssl.VERIFY_X509_STRICT  # the default of Python 3.13
context.load_cert_chain(where + '/app1.pem', where + '/app1.key')
db = ZEO.DB(('127.0.0.1', port), ssl=context, ssl_server_hostname='localhost', wait_timeout=20)
with db.transaction() as connection:
    connection.root.written = 1
print(ZEO.__file__, 'wrote')
db.close()
"""


@pytest.mark.parametrize(('server', 'client'), [(OURS, PEER), (PEER, OURS)])
def test_they_work_on_both_sides(server, client, tmp_path, capsys):
    certs = Certs(tmp_path / 'certs', capsys)
    certs.make('--server', 'localhost', '--client', 'app1')
    ssl_section = f"""\
    <ssl>
      certificate {certs.path('localhost.pem')}
      key {certs.path('localhost.key')}
      authenticate {certs.path('ca.pem')}
    </ssl>"""
    serving = ServerCommand(server, tmp_path / 'server', options=ssl_section, tcp=True)
    try:
        serving.start()
        done = subprocess.run(
            [client.python, '-c', CLIENT, str(serving.address[1]), str(certs.directory)],
            env=client.environ(),
            capture_output=True,
            text=True,
            timeout=50,
        )
        assert done.returncode == 0 and done.stdout.endswith('wrote\n'), done.stderr
    finally:
        serving.close()
