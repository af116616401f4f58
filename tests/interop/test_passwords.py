"""Passwords where one side is ZEO 6, which has none."""

import pytest

import ZEO
from support.children import RemoteError
from support.sides import OURS, PEER
from ZEO.Exceptions import AuthError
from ZEO.serving.access import secrets_file
from ZEO.serving.access.secrets import set_secret

NAMES = {'username': 'app', 'password': 'correct horse battery'}


@pytest.mark.parametrize('msgpack', ['on', 'off'])
def test_a_client_with_a_password_does_not_use_a_server_that_cannot_check_it(new_server, msgpack):
    server = new_server(PEER, options=f'msgpack {msgpack}').start()
    with pytest.raises(AuthError, match='ZEO 6 and older versions cannot do that: remove username'):
        ZEO.client(server.address, wait_timeout=30, **NAMES)
    ZEO.client(server.address, wait_timeout=30).close()


def test_a_client_of_zeo_6_is_denied_where_a_password_is_needed(new_server, new_agent, tmp_path):
    path = str(tmp_path / 'passwords')
    with secrets_file.change(path, may_create=True) as kept:
        set_secret(kept, NAMES['username'], NAMES['password'])
    server = new_server(OURS, options=f'password-file {path}').start()
    agent = new_agent('peer')
    with pytest.raises(RemoteError) as caught:
        agent.call('open', address=server.address, database=False, wait_timeout=1)
    assert caught.value.is_a('ClientDisconnected')
    ZEO.client(server.address, wait_timeout=30, **NAMES).close()
