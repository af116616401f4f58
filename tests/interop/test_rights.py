"""Clients of both sides at a server with rules: by certificate, and by user of the machine."""

import os
import time

import pytest

from support.children import RemoteError
from support.sides import OURS

trustme = pytest.importorskip('trustme')

ME = f'unix-user {os.getuid()}'
STORAGES = '\n'.join(
    f'<mappingstorage {name}>\n</mappingstorage>' for name in ('hidden', 'readable', 'owned')
)


def rules(*lines):
    return '\n'.join(['<access owned>', *lines, '</access>'])


@pytest.fixture(params=['ours', 'peer'])
def agent(request, new_agent):
    return request.param, new_agent(request.param)


@pytest.fixture
def by_user(new_server):
    """A server on a Unix socket."""
    options = (
        f'<access hidden>\nrule anyone nothing\n</access>\n'
        f'<access readable>\nrule {ME} read\n</access>\n'
        f'<access owned>\nrule {ME} admin\n</access>'
    )
    return new_server(OURS, options=options, storage=STORAGES).start()


def opened(agent, **options):
    agent.call('open', database=False, **{'wait_timeout': 20, **options})


def test_a_client_may_do_what_its_user_may(by_user, agent):
    _, agent = agent
    opened(agent, address=by_user.address, storage='owned')
    assert agent.call('call', method='new_oid')
    agent.call('call', method='pack', args=[time.time()], wait=True)
    agent.call('close')
    opened(agent, address=by_user.address, storage='owned', read_only=True)
    agent.call('call', method='pack', args=[time.time()], wait=True)
    agent.call('close')
    opened(agent, address=by_user.address, storage='readable', read_only_fallback=True)
    assert agent.call('call', method='isReadOnly')


def test_a_client_may_not_pack_without_the_right(by_user, agent):
    """ZEO 6 raises an error of its own, in which the denial can be read."""
    side, agent = agent
    opened(agent, address=by_user.address, storage='readable', read_only=True)
    with pytest.raises(RemoteError) as caught:
        agent.call('call', method='pack', args=[time.time()], wait=True)
    assert caught.value.is_a('AuthError' if side == 'ours' else 'ServerException')
    assert "pack of the storage 'readable' needs the right admin" in caught.value.text


@pytest.mark.parametrize('name', ['hidden', 'nosuch'])
def test_a_client_does_not_get_a_storage_that_it_may_not_see(by_user, agent, name):
    """ZEO 6 writes the denial into its log, and tries until its time is over."""
    side, agent = agent
    with pytest.raises(RemoteError) as caught:
        opened(agent, address=by_user.address, storage=name, wait_timeout=1)
    if side == 'ours':
        assert caught.value.is_a('AuthError')
        assert f"there is no storage '{name}'" in caught.value.text
    else:
        assert caught.value.is_a('ClientDisconnected')
    by_user._process.errors.wait_for(f"denied: storage '{name}', as Unix user {os.getuid()}")


def test_a_client_may_do_what_its_certificate_may(new_server, agent, tmp_path):
    side, agent = agent
    authority = trustme.CA()
    files = {name: str(tmp_path / f'{name}.pem') for name in ('ca', 'server', 'app', 'other')}
    authority.cert_pem.write_to_path(files['ca'])
    for name in 'app', 'other':
        issued = authority.issue_cert('localhost', f'{name}.example.org', common_name=name)
        issued.private_key_and_cert_chain_pem.write_to_path(files[name])
    authority.issue_cert('localhost').private_key_and_cert_chain_pem.write_to_path(files['server'])
    section = (
        f'<ssl>\n certificate {files["server"]}\n authenticate {files["ca"]}\n</ssl>\n'
        '<access owned>\nrule certificate CN=app write\n'
        'rule certificate DNS:other.example.org read\n</access>'
    )
    server = new_server(OURS, options=section, tcp=True, storage=STORAGES).start()

    def tls(name):
        return {
            'address': server.address,
            'storage': 'owned',
            'tls': [files['ca'], files[name], files[name]],
        }

    opened(agent, **tls('app'))
    assert agent.call('call', method='new_oid')
    agent.call('close')
    opened(agent, **tls('other'), read_only_fallback=True)
    assert agent.call('call', method='isReadOnly')
